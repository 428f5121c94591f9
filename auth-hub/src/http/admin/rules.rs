//! What operators set for everybody who wants in: maintenance, the least build, the message of the day.
//!
//! Invariant: rules are stored before they hold, so that a restart changes none of them.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{Done, deed, members, perform};
use crate::accounts::audit::Deed;
use crate::accounts::{EntryRules, LoginName, Maintenance};
use crate::http::extract::Body;
use crate::http::fields::{Fields, invalid};
use crate::http::problem::Problem;
use crate::http::state::HttpState;

fn shown(rules: &EntryRules) -> Value {
    let maintenance = rules.maintenance.as_ref().map(|Maintenance { message, allowed }| {
        let allowed: Vec<_> = allowed.iter().map(LoginName::as_str).collect();
        json!({ "message": message, "allow": allowed })
    });
    json!({
        "maintenance": maintenance,
        "build_min": rules.build_min.as_ref().map(ToString::to_string),
        "message": rules.message,
    })
}

pub(in crate::http) async fn show(State(state): State<HttpState>) -> Json<Value> {
    Json(shown(&state.rules()))
}

/// Changes one of them: written down, stored, and then in force.
async fn change(
    state: &HttpState,
    deed: Deed,
    change: impl FnOnce(&mut EntryRules) + Send + 'static,
) -> Result<Json<Value>, Problem> {
    let owned = state.clone();
    let work = async move {
        let _alone = owned.change().await;
        let mut rules = EntryRules::clone(&owned.rules());
        change(&mut rules);
        owned.parts().store.set_entry_rules(rules.clone()).await?;
        let reply = Json(shown(&rules));
        owned.set_rules(rules);
        Ok(Done::well(reply))
    };
    perform(state, deed, work).await
}

pub(in crate::http) async fn maintenance(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::read(&body, members::MAINTENANCE)?;
    let message = fields.line(&members::MESSAGE)?;
    let allowed =
        fields.texts(&members::ALLOW)?.iter().map(|name| name.parse()).collect::<Result<Vec<_>, _>>();
    let allowed = allowed.map_err(|_| invalid(&members::ALLOW, "has login names"))?;
    let maintenance = message.map(|message| Maintenance { message, allowed });
    let (action, target) = match &maintenance {
        Some(Maintenance { message, allowed }) if allowed.is_empty() => ("maintenance-on", message.clone()),
        Some(Maintenance { message, allowed }) => {
            let allowed: Vec<_> = allowed.iter().map(LoginName::as_str).collect();
            ("maintenance-on", format!("{message} (allowed: {})", allowed.join(" ")))
        }
        None => ("maintenance-off", String::new()),
    };
    let deed = deed(&mut fields, action, target)?;
    change(&state, deed, |rules| rules.maintenance = maintenance).await
}

pub(in crate::http) async fn least_build(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::read(&body, members::LEAST_BUILD)?;
    let build = fields.build()?;
    let target = build.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let deed = deed(&mut fields, "min-build", target)?;
    change(&state, deed, |rules| rules.build_min = build).await
}

pub(in crate::http) async fn message(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::read(&body, members::SAY)?;
    let message = fields.line(&members::MESSAGE)?;
    let deed = deed(&mut fields, "message", message.clone().unwrap_or_else(|| "none".to_owned()))?;
    change(&state, deed, |rules| rules.message = message).await
}
