//! The hub's answers for people: lines and columns.
//!
//! Knows the members of the answers, which `--json` prints as they are. Invariant: what a stranger chose cannot steer the terminal.

use std::fmt::Write as _;

use serde_json::Value;
use shared_msgs::limits::SAVE_TIME;

use super::client::printable;

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A moment, as UTC.
pub(super) fn utc(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    // Years counted from March on, so that a leap day is a year's last; eras of 400 years, of 146,097 days each. 719,468 days are from
    // March of the year 0 to 1970.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months from March on have 153 days, and so have the next five.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

fn at(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), utc)
}

/// Columns as wide as they must be, two spaces between.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cell = |row: &Vec<String>| row.get(column).map_or(0, |cell| cell.chars().count());
        rows.iter().map(cell).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

pub(super) fn servers(reply: &Value) -> String {
    let head =
        ["SERVER", "STATE", "PLAYERS", "HELD", "MAX", "LOAD", "UNANSWERED", "REGION", "BUILD", "DRAIN"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for server in list(&reply["servers"]) {
        let of = |name: &str| text(&server[name]);
        let drain = match (&server["is_drain_ordered"], server["drain_until_ms"].as_u64()) {
            (_, Some(until)) => format!("until {}", utc(until)),
            (Value::Bool(true), None) => "ordered".to_owned(),
            _ => "-".to_owned(),
        };
        let load = format!("{} %", of("load_percent"));
        let mut row: Vec<_> = ["id", "state", "players", "held", "max_players"].map(of).into();
        row.extend([load, of("unanswered"), of("region"), of("build"), drain]);
        rows.push(row);
    }
    table(&rows)
}

pub(super) fn drain(reply: &Value) -> String {
    let left = match reply["within_s"].as_u64() {
        Some(seconds) => {
            let told = seconds.saturating_sub(SAVE_TIME.as_secs());
            format!("who is left in {told} s is told to go, and in {seconds} s is ended")
        }
        None => "nobody is ended".to_owned(),
    };
    format!("{} takes nobody new; {left}\n", text(&reply["server"]))
}

pub(super) fn undrain(reply: &Value) -> String {
    format!("{} takes players again\n", text(&reply["server"]))
}

pub(super) fn revoked(reply: &Value) -> String {
    let (server, lowest) = (text(&reply["server"]), text(&reply["lowest_generation"]));
    let mut out = format!(
        "keys of {server} below generation {lowest} are revoked; `auth-hub server-key {server}` prints a new one\n"
    );
    if reply["in_force"] == Value::Bool(false) {
        let _ = writeln!(out, "not in force yet, the hub is busy: say it again");
    }
    out
}

fn standing(player: &Value) -> String {
    let ban = &player["ban"];
    if ban.is_null() {
        return text(&player["state"]);
    }
    let until =
        ban["until_ms"].as_u64().map_or_else(|| "for ever".to_owned(), |ms| format!("until {}", utc(ms)));
    format!("banned {until} by {}: {}", text(&ban["by"]), text(&ban["why"]))
}

pub(super) fn found(reply: &Value) -> String {
    let mut rows = vec![["LOGIN", "ACCOUNT", "DISPLAY NAME", "STATE"].map(str::to_owned).to_vec()];
    for player in list(&reply["players"]) {
        let mut row: Vec<_> = ["login", "account_id", "display_name"].map(|name| text(&player[name])).into();
        row.push(standing(player));
        rows.push(row);
    }
    let more =
        if reply["has_more"] == Value::Bool(true) { "there are more: say more of the name\n" } else { "" };
    table(&rows) + more
}

pub(super) fn places(reply: &Value) -> String {
    let login = text(&reply["player"]["login"]);
    let mut out = String::new();
    for place in list(&reply["places"]) {
        let how = if place["is_live"] == Value::Bool(true) { "in game on" } else { "expected on" };
        let _ = writeln!(
            out,
            "{login} is {how} {} (handover {})",
            text(&place["server"]),
            text(&place["handover_id"])
        );
    }
    if out.is_empty() { format!("{login} is nowhere\n") } else { out }
}

pub(super) fn stories(reply: &Value) -> String {
    let mut out = String::new();
    for story in list(&reply["handovers"]) {
        let _ = writeln!(out, "handover {}: {}", text(&story["handover_id"]), text(&story["outcome"]));
        let of = |step: &Value| {
            let mut row = vec![format!("  {}", at(&step["at_ms"]))];
            row.extend(["event", "server", "code"].map(|name| text(&step[name])));
            row
        };
        out += &table(&list(&story["steps"]).iter().map(of).collect::<Vec<_>>());
    }
    if out.is_empty() {
        return format!("{} has no handover that the hub remembers\n", text(&reply["player"]["login"]));
    }
    out
}

fn ended(report: &Value) -> String {
    let servers: Vec<_> = list(&report["servers"]).iter().map(text).collect();
    let at = if servers.is_empty() {
        "no server had them".to_owned()
    } else {
        format!("ended on {}", servers.join(", "))
    };
    format!("{at}; {} handovers under way were refused", text(&report["refused"]))
}

pub(super) fn kicked(reply: &Value) -> String {
    format!("{} is kicked: {}\n", text(&reply["player"]["login"]), ended(&reply["ended"]))
}

pub(super) fn banned(reply: &Value) -> String {
    let mut out = format!("{} is {}\n", text(&reply["player"]["login"]), standing(&reply["player"]));
    let _ = match &reply["ended"] {
        Value::Null => writeln!(out, "sessions were not ended, the hub is busy: say it again"),
        report => writeln!(out, "{}", ended(report)),
    };
    out
}

pub(super) fn unbanned(reply: &Value) -> String {
    let what = if reply["was_banned"] == Value::Bool(true) { "is let in again" } else { "was not banned" };
    format!("{} {what}\n", text(&reply["login"]))
}

pub(super) fn rules(reply: &Value) -> String {
    let maintenance = &reply["maintenance"];
    let maintenance = if maintenance.is_null() {
        "off".to_owned()
    } else {
        let allowed: Vec<_> = list(&maintenance["allow"]).iter().map(text).collect();
        let allowed = if allowed.is_empty() { "nobody".to_owned() } else { allowed.join(" ") };
        format!("on: {} (allowed: {allowed})", text(&maintenance["message"]))
    };
    let (build, message) = (text(&reply["build_min"]), text(&reply["message"]));
    format!("maintenance  {maintenance}\nleast build  {build}\nmessage      {message}\n")
}

pub(super) fn broadcast(reply: &Value) -> String {
    format!("{} servers were told\n", text(&reply["servers"]))
}

pub(super) fn audit(reply: &Value) -> String {
    let mut rows = vec![["WHEN", "WHO", "WHAT", "TARGET", "OUTCOME", "WHY"].map(str::to_owned).to_vec()];
    for entry in list(&reply["entries"]) {
        let outcome = if entry["outcome"].is_null() { "begun".to_owned() } else { text(&entry["outcome"]) };
        let of = |name: &str| text(&entry[name]);
        rows.push(vec![at(&entry["at_ms"]), of("operator"), of("action"), of("target"), outcome, of("why")]);
    }
    table(&rows)
}
