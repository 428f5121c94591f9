//! What operators do to players: find, follow, kick, ban.
//!
//! Invariant: a ban is stored before anything of the account is ended, so that whoever is ended does not come back.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use shared_msgs::codes::Code;
use shared_msgs::ids::AccountId;
use tracing::warn;

use super::{Done, account, ask, deed, members, perform};
use crate::accounts::audit::Deed;
use crate::accounts::search::FOUND_ACCOUNTS_MAX;
use crate::accounts::{Account, Ban};
use crate::handover::operations::{EndReport, Story, Whereabouts};
use crate::http::extract::Body;
use crate::http::fields::Fields;
use crate::http::members::Members;
use crate::http::problem::Problem;
use crate::http::state::HttpState;

fn shown(state: &HttpState, account: &Account) -> Value {
    let ban = account.ban_at(state.unix()).map(|ban| {
        json!({ "until_ms": ban.until.map(|until| until.0), "why": ban.reason, "by": ban.by, "since_ms": ban.since.0 })
    });
    json!({
        "login": account.login.as_str(), "account_id": account.id.to_string(), "display_name": account.display_name.as_str(),
        "state": account.state.as_str(), "created_ms": account.created.0, "ban": ban,
    })
}

pub(in crate::http) async fn find(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let like = Fields::read(&body, members::FIND)?.needed_line(&members::LIKE)?;
    let store = &state.parts().store;
    let mut found = match like.parse::<AccountId>() {
        Ok(id) => store.by_public(id).await?.into_iter().collect(),
        Err(_) => store.find_accounts(&like, FOUND_ACCOUNTS_MAX + 1).await?,
    };
    let has_more = found.len() > FOUND_ACCOUNTS_MAX as usize;
    found.truncate(FOUND_ACCOUNTS_MAX as usize);
    let players: Vec<_> = found.iter().map(|account| shown(&state, account)).collect();
    Ok(Json(json!({ "players": players, "has_more": has_more })))
}

pub(in crate::http) async fn whereabouts(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let (_, account) = named(&state, &body, members::OF_PLAYER).await?;
    let place = |Whereabouts { server, is_live, handover }| json!({ "server": server, "is_live": is_live, "handover_id": handover.map(|id| id.to_string()) });
    let places = ask(state.parts().operations.find(account.row)).await?;
    let places: Vec<_> = places.into_iter().map(place).collect();
    Ok(Json(json!({ "player": shown(&state, &account), "places": places })))
}

pub(in crate::http) async fn explain(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let (_, account) = named(&state, &body, members::OF_PLAYER).await?;
    let story = |Story { handover, steps, outcome }| {
        let steps = steps.into_iter();
        let steps = steps.map(|step| json!({ "at_ms": step.at.0, "event": step.event, "server": step.server, "code": step.code }));
        json!({ "handover_id": handover.to_string(), "outcome": outcome, "steps": steps.collect::<Vec<_>>() })
    };
    let stories = ask(state.parts().operations.explain(account.row)).await?;
    let stories: Vec<_> = stories.into_iter().map(story).collect();
    Ok(Json(json!({ "player": shown(&state, &account), "handovers": stories })))
}

/// The body's members, and the account they name.
async fn named(state: &HttpState, body: &[u8], members: Members) -> Result<(Fields, Account), Problem> {
    let mut fields = Fields::read(body, members)?;
    let player = fields.needed_line(&members::PLAYER)?;
    Ok((fields, account(state, &player).await?))
}

/// What is to be done to whom, and the members that are left.
async fn against(
    state: &HttpState,
    body: &[u8],
    members: Members,
    action: &'static str,
) -> Result<(Account, Deed, Fields), Problem> {
    let (mut fields, account) = named(state, body, members).await?;
    let deed = deed(&mut fields, action, account.login.as_str())?;
    Ok((account, deed, fields))
}

fn ended(report: &EndReport) -> Value {
    json!({ "servers": report.servers, "refused": report.refused })
}

fn told(report: &EndReport) -> String {
    format!("{} servers told, {} handovers refused", report.servers.len(), report.refused)
}

pub(in crate::http) async fn kick(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let (account, deed, _) = against(&state, &body, members::KICK, "kick").await?;
    let owned = state.clone();
    let work = async move {
        let report = ask(owned.parts().operations.end(account.row, Code::Kicked)).await?;
        let reply = json!({ "player": shown(&owned, &account), "ended": ended(&report) });
        Ok(Done { reply: Json(reply), outcome: told(&report) })
    };
    perform(&state, deed, work).await
}

pub(in crate::http) async fn ban(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let (mut account, deed, mut fields) = against(&state, &body, members::BAN, "ban").await?;
    let life = fields.number(&members::FOR)?.map(Duration::from_secs);
    let (by, reason) = (deed.operator.clone(), deed.reason.clone());
    let owned = state.clone();
    let work = async move {
        let since = owned.unix();
        let ban = Ban { until: life.map(|life| since + life), reason, by, since };
        owned.parts().store.ban(account.row, ban.clone()).await?;
        // From here on no login gets past the account; what it had is ended now.
        let report = ask(owned.parts().operations.end(account.row, Code::Banned)).await;
        let until = ban.until.map_or_else(|| "for ever".to_owned(), |until| format!("until {until}"));
        let outcome = match &report {
            Ok(report) => format!("banned {until}; {}", told(report)),
            Err(error) => {
                warn!(target: "admin", account_id = %account.id, %error, "admin.half_done");
                format!("banned {until}; what the account had was not ended: {error}")
            }
        };
        account.ban = Some(ban);
        // Asked again it does no harm; the operator is told to.
        let reply = json!({ "player": shown(&owned, &account), "ended": report.as_ref().ok().map(ended) });
        Ok(Done { reply: Json(reply), outcome })
    };
    perform(&state, deed, work).await
}

pub(in crate::http) async fn unban(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let (account, deed, _) = against(&state, &body, members::KICK, "unban").await?;
    let owned = state.clone();
    let work = async move {
        let was_banned = owned.parts().store.unban(account.row).await?;
        let outcome = if was_banned { "done" } else { "there was no ban" }.to_owned();
        let reply = json!({ "login": account.login.as_str(), "was_banned": was_banned });
        Ok(Done { reply: Json(reply), outcome })
    };
    perform(&state, deed, work).await
}
