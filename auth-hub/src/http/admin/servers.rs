//! What operators do to game servers: list, drain, revoke, and speak to who plays there.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use shared_msgs::ids::ServerId;
use tracing::warn;

use super::{Done, ask, deed, members, perform};
use crate::handover::operations::{OperationError, ServerReport};
use crate::http::extract::Body;
use crate::http::fields::{Fields, invalid};
use crate::http::members::SERVER;
use crate::http::problem::Problem;
use crate::http::state::HttpState;

pub(in crate::http) async fn list(State(state): State<HttpState>) -> Result<Json<Value>, Problem> {
    let shown = |server: ServerReport| {
        let ServerReport { occupancy, .. } = server;
        json!({
            "id": server.server, "name": server.name, "region": server.region, "build": server.build, "state": server.state,
            "players": occupancy.players, "held": occupancy.held, "parked": occupancy.parked, "max_players": occupancy.max_players,
            "load_percent": server.load_percent, "unanswered": server.unanswered,
            "is_drain_ordered": server.is_drain_ordered, "drain_until_ms": server.drain_until.map(|until| until.0),
        })
    };
    let servers = ask(state.parts().operations.servers()).await?;
    let servers: Vec<_> = servers.into_iter().map(shown).collect();
    Ok(Json(json!({ "servers": servers })))
}

fn named(fields: &mut Fields) -> Result<ServerId, Problem> {
    let server = fields.parsed(&SERVER, "is not a server id")?;
    server.ok_or_else(|| invalid(&SERVER, "is missing"))
}

pub(in crate::http) async fn drain(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::read(&body, members::DRAIN)?;
    let server = named(&mut fields)?;
    let within = fields.number(&members::WITHIN)?.map(Duration::from_secs);
    let mut deed = deed(&mut fields, "drain", server.as_str())?;
    if let Some(within) = within {
        deed.target = format!("{server} within {} s", within.as_secs());
    }
    let operations = state.parts().operations.clone();
    let work = async move {
        ask(operations.drain(server.clone(), within)).await?;
        Ok(Done::well(Json(json!({ "server": server, "within_s": within.map(|within| within.as_secs()) }))))
    };
    perform(&state, deed, work).await
}

pub(in crate::http) async fn undrain(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::read(&body, members::ON_SERVER)?;
    let server = named(&mut fields)?;
    let deed = deed(&mut fields, "undrain", server.as_str())?;
    let operations = state.parts().operations.clone();
    let work = async move {
        ask(operations.undrain(server.clone())).await?;
        Ok(Done::well(Json(json!({ "server": server }))))
    };
    perform(&state, deed, work).await
}

pub(in crate::http) async fn revoke_key(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::read(&body, members::REVOKE)?;
    let server = named(&mut fields)?;
    // Named, so that a repeat, whose first answer was lost, revokes nothing that came since.
    let wanted = fields.number(&members::LOWEST)?.ok_or_else(|| invalid(&members::LOWEST, "is missing"))?;
    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
    let deed = deed(&mut fields, "revoke-key", format!("{server} below {wanted}"))?;
    let owned = state.clone();
    let work = async move {
        let parts = owned.parts();
        let _alone = owned.change().await;
        let lowest = parts.store.raise_lowest_generation(&server, wanted).await?;
        // Stored, it holds at the hub's next start whatever comes now.
        let told = ask(parts.operations.revoke(server.clone(), lowest)).await;
        let outcome = match told {
            // A server that nobody has heard has no connection to close.
            Ok(()) | Err(OperationError::ServerUnknown | OperationError::ServerOffline) => {
                format!("keys below generation {lowest} are revoked")
            }
            Err(error) => {
                warn!(target: "admin", server_id = %server, %error, "admin.half_done");
                format!("stored, generation {lowest}; not in force before the next start: {error}")
            }
        };
        let in_force = !matches!(told, Err(OperationError::Busy | OperationError::Store));
        let reply = json!({ "server": server, "lowest_generation": lowest, "in_force": in_force });
        Ok(Done { reply: Json(reply), outcome })
    };
    perform(&state, deed, work).await
}

pub(in crate::http) async fn broadcast(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::read(&body, members::BROADCAST)?;
    let text = fields.needed_line(&members::TEXT)?;
    let server: Option<ServerId> = fields.parsed(&SERVER, "is not a server id")?;
    let to = server.as_ref().map_or("everybody", ServerId::as_str);
    let deed = deed(&mut fields, "broadcast", format!("{to}: {text}"))?;
    let operations = state.parts().operations.clone();
    let work = async move {
        let told = ask(operations.broadcast(text, server)).await?;
        Ok(Done { reply: Json(json!({ "servers": told })), outcome: format!("{told} servers were told") })
    };
    perform(&state, deed, work).await
}
