//! The task around the core: the one owner of the fleet view and of every handover.

use shared_msgs::ids::HandoverId;
use tokio::sync::{mpsc, oneshot};

use super::{HandoverRequest, NoPlace, Placed, Refused};
use crate::fleet::ServerSummary;

/// How the fleet and the hub's link stand.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By name.
    pub servers: Vec<ServerSummary>,
    /// Whether the hub hears its broker.
    pub link_up: bool,
}

pub(crate) enum Ask {
    HandOver(HandoverRequest, HandoverId, oneshot::Sender<Result<Placed, Refused>>),
    Snapshot(oneshot::Sender<Snapshot>),
}

/// Where the HTTP edge asks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    asks: mpsc::Sender<Ask>,
    rng: std::sync::Arc<dyn shared_msgs::rng::Rng>,
}

impl Desk {
    /// Hands a player over. Runs to its end even if this future is dropped.
    ///
    /// # Errors
    /// [`Refused`], at once when the desk's queue is full.
    pub async fn hand_over(&self, request: HandoverRequest) -> Result<Placed, Refused> {
        let handover = HandoverId::random(&*self.rng);
        let busy = Refused { handover, why: NoPlace::HubBusy };
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(Ask::HandOver(request, handover, answer)).map_err(|_| busy)?;
        answered.await.unwrap_or(Err(busy))
    }

    /// How the fleet stands now; empty when the desk has stopped.
    pub async fn snapshot(&self) -> Snapshot {
        let (answer, answered) = oneshot::channel();
        if self.asks.send(Ask::Snapshot(answer)).await.is_err() {
            return Snapshot::default();
        }
        answered.await.unwrap_or_default()
    }
}
