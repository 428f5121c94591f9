//! `POST /admin/audit`: what operators did.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::members;
use crate::accounts::audit::AuditRow;
use crate::http::extract::Body;
use crate::http::fields::Fields;
use crate::http::problem::Problem;
use crate::http::state::HttpState;

const LAST: u64 = 20;

pub(in crate::http) async fn list(
    State(state): State<HttpState>,
    Body(body): Body,
) -> Result<Json<Value>, Problem> {
    let last = Fields::read(&body, members::AUDIT)?.number(&members::LAST)?.unwrap_or(LAST);
    let rows = state.parts().store.audit_last(u32::try_from(last).unwrap_or(u32::MAX)).await?;
    let shown = |row: AuditRow| {
        let AuditRow { id, at, operator, action, target, reason, outcome } = row;
        json!({
            "id": id, "at_ms": at.0, "operator": operator, "action": action, "target": target, "why": reason, "outcome": outcome,
        })
    };
    let entries: Vec<_> = rows.into_iter().map(shown).collect();
    Ok(Json(json!({ "entries": entries })))
}
