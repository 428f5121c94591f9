//! Waiting for a slot: the ticket of a full fleet, asked for until it is a place.

use std::time::Duration;

use serde::Deserialize;

use super::{ClientError, HubClient, LoggedIn, Problem, Ticket};

/// How a ticket of the login queue stands.
#[derive(Debug, Clone, Deserialize)]
pub struct Queued {
    /// Of use to its owner alone.
    pub ticket: String,
    /// `waiting`, `gathering` or `ready`.
    pub state: String,
    /// 1 is the next.
    pub position: u32,
    /// How long it will take, when that is known.
    pub estimated_wait: Option<Wait>,
    /// When to ask again.
    pub ask_again_ms: u64,
}

/// A wait in seconds.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Wait {
    /// At least.
    pub low_s: u64,
    /// At most.
    pub high_s: u64,
}

/// What a request for a place came to.
#[derive(Clone)]
pub enum Turn {
    /// A place.
    Place(Box<Ticket>),
    /// A ticket.
    Wait(Queued),
}

impl Turn {
    /// The place.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn place(self) -> Ticket {
        match self {
            Self::Place(place) => *place,
            Self::Wait(queued) => panic!("{queued:?} in place of a place"),
        }
    }

    /// The ticket.
    ///
    /// # Panics
    /// When there is a place.
    #[track_caller]
    pub fn wait(self) -> Queued {
        match self {
            Self::Place(place) => panic!("a place on {} in place of a ticket", place.server.id),
            Self::Wait(queued) => queued,
        }
    }
}

impl HubClient {
    /// `POST /auth/login` without a handover.
    ///
    /// # Errors
    /// A problem, or no answer.
    pub async fn log_in_only(&self, login: &str, password: &str) -> Result<LoggedIn, ClientError> {
        let body = serde_json::json!({"login": login, "password": password, "handover": false});
        self.post("/auth/login", None, body).await
    }

    /// Asks how a ticket stands, and takes the place when its turn has come or comes within `wait`.
    ///
    /// # Errors
    /// A problem, or no answer.
    pub async fn ask_ticket(
        &self,
        access_token: &str,
        ticket: &str,
        wait: Duration,
    ) -> Result<Turn, ClientError> {
        let path = format!("/queue/{ticket}?wait_ms={}", wait.as_millis());
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(access_token);
        Self::turn(request).await
    }

    /// `POST /handover` with any wishes.
    ///
    /// # Errors
    /// A problem, or no answer.
    pub async fn ask_place(
        &self,
        access_token: &str,
        wishes: &serde_json::Value,
    ) -> Result<Turn, ClientError> {
        let request = self.http.post(format!("{}/handover", self.base)).bearer_auth(access_token);
        Self::turn(request.json(wishes)).await
    }

    /// Gives a ticket back.
    ///
    /// # Errors
    /// A problem, or no answer.
    pub async fn leave_queue(&self, access_token: &str, ticket: &str) -> Result<(), ClientError> {
        let request = self.http.delete(format!("{}/queue/{ticket}", self.base)).bearer_auth(access_token);
        let response = request.send().await?;
        if response.status().as_u16() == 204 {
            return Ok(());
        }
        Err(ClientError::Problem(Box::new(response.json::<Problem>().await?)))
    }

    /// Opens the stream of a ticket's events.
    ///
    /// # Errors
    /// A problem, or no answer.
    pub async fn follow_ticket(
        &self,
        access_token: &str,
        ticket: &str,
    ) -> Result<reqwest::Response, ClientError> {
        let request = self.http.get(format!("{}/queue/{ticket}/events", self.base)).bearer_auth(access_token);
        let response = request.send().await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(ClientError::Problem(Box::new(response.json::<Problem>().await?)))
    }

    async fn turn(request: reqwest::RequestBuilder) -> Result<Turn, ClientError> {
        let response = request.send().await?;
        match response.status().as_u16() {
            200 => Ok(Turn::Place(Box::new(response.json().await?))),
            202 => Ok(Turn::Wait(response.json().await?)),
            _ => Err(ClientError::Problem(Box::new(response.json::<Problem>().await?))),
        }
    }
}
