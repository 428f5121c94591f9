//! `POST /auth/register`: an account for whoever asks, where the operator lets them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tracing::info;

use super::extract::{Body, FromAddress};
use super::fields::Fields;
use super::members;
use super::problem::{Kind, Problem};
use super::state::HttpState;
use crate::accounts::throttle::Verdict;
use crate::accounts::{Account, DisplayName, LoginName, Password, admin};

#[derive(Serialize)]
pub(super) struct Registered {
    account_id: String,
    login: String,
    display_name: String,
}

impl From<&Account> for Registered {
    fn from(account: &Account) -> Self {
        Self {
            account_id: account.id.to_string(),
            login: account.login.to_string(),
            display_name: account.display_name.to_string(),
        }
    }
}

/// What a client asks. No `Debug`.
pub(super) struct RegisterRequest {
    pub(super) login: LoginName,
    pub(super) password: Password,
    pub(super) display_name: DisplayName,
}

impl RegisterRequest {
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut fields = Fields::read(body, members::REGISTER)?;
        let login = fields.text(&members::NEW_LOGIN)?;
        let password = Password::new(fields.text(&members::NEW_PASSWORD)?);
        let password = password.map_err(|err| because(Kind::InvalidPassword, &err))?;
        let display_name = fields.optional_text(&members::DISPLAY_NAME).unwrap_or_else(|| login.clone());
        let login = login.parse().map_err(|err| because(Kind::InvalidLogin, &err))?;
        let display_name = display_name.parse().map_err(|err| because(Kind::InvalidDisplayName, &err))?;
        Ok(Self { login, password, display_name })
    }
}

pub(super) async fn register(
    State(state): State<HttpState>,
    FromAddress(address): FromAddress,
    Body(body): Body,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    if !state.settings().registration_open {
        return Err(Problem::new(Kind::RegistrationClosed));
    }
    let RegisterRequest { login, password, display_name } = RegisterRequest::read(&body)?;
    let verdict = state.registrations().attempt(&login, address, state.mono());
    if let Verdict::Denied { retry_after } = verdict {
        return Err(Problem::retry(Kind::TooManyAttempts, retry_after));
    }
    let parts = state.parts();
    let account = admin::add(&parts.store, &parts.passwords, login, display_name, password).await?;
    info!(target: "http", account_id = %account.id, "account.registered");
    Ok((StatusCode::CREATED, Json((&account).into())))
}

fn because(kind: Kind, err: &dyn std::error::Error) -> Problem {
    Problem::because(kind, err.to_string())
}
