//! `wavetask key add|ls|quota|revoke`.

use std::io::Write;
use std::process::ExitCode;

use wavetask_protocol::native::{KeySummary, Quota};

use crate::arguments::DataArguments;
use crate::command::connect;
use crate::failure::{Exit, Failure};
use crate::terminal::{bytes, now_milliseconds, one_line, span, table};

pub(crate) async fn add(data: DataArguments, name: String, json: bool) -> Result<ExitCode, Failure> {
    let api = connect(data)?;
    let key = api.add_key(&name).await?;
    let mut output = std::io::stdout().lock();
    if json {
        writeln!(output, "{}", serde_json::to_string_pretty(&key).map_err(std::io::Error::from)?)?;
    } else {
        // The bare key, so that `WAVETASK_KEY=$(wavetask key add me)` works.
        writeln!(output, "{}", key.secret)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn list(data: DataArguments, json: bool) -> Result<ExitCode, Failure> {
    let api = connect(data)?;
    let list = api.keys().await?;
    let mut output = std::io::stdout().lock();
    if json {
        writeln!(output, "{}", serde_json::to_string_pretty(&list).map_err(std::io::Error::from)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = now_milliseconds();
    let mut rows = vec![["ID", "NAME", "AGE", "TASKS", "STORED", "STATE"].map(str::to_owned).to_vec()];
    for key in &list.keys {
        let state = match (key.revoked_milliseconds, key.administrator) {
            (Some(_), _) => "revoked",
            (None, true) => "valid, manages keys",
            (None, false) => "valid",
        };
        rows.push(vec![
            key.key.to_string(),
            one_line(&key.name),
            span(now - key.created_milliseconds),
            used(key.usage.tasks, key.quota.tasks, |count| count.to_string()),
            used(key.usage.bytes, key.quota.bytes, bytes),
            state.to_owned(),
        ]);
    }
    table(&mut output, &rows)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn limit(
    data: DataArguments,
    typed: String,
    quota: Quota,
    json: bool,
) -> Result<ExitCode, Failure> {
    let api = connect(data)?;
    let keys = api.keys().await?.keys;
    let key = api.set_quota(&choose(&typed, &keys)?.key, &quota).await?;
    if json {
        let text = serde_json::to_string_pretty(&key).map_err(std::io::Error::from)?;
        writeln!(std::io::stdout(), "{text}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let tasks = used(key.usage.tasks, key.quota.tasks, |count| count.to_string());
    let stored = used(key.usage.bytes, key.quota.bytes, bytes);
    writeln!(std::io::stdout(), "{}  {}  {tasks} tasks, {stored}", key.key, one_line(&key.name))?;
    Ok(ExitCode::SUCCESS)
}

/// What is used, and of how much if there is a limit.
fn used(usage: u64, quota: Option<u64>, show: impl Fn(u64) -> String) -> String {
    match quota {
        Some(quota) => format!("{} of {}", show(usage), show(quota)),
        None => show(usage),
    }
}

pub(crate) async fn revoke(data: DataArguments, typed: String, json: bool) -> Result<ExitCode, Failure> {
    let api = connect(data)?;
    let keys = api.keys().await?.keys;
    let key = choose(&typed, &keys)?;
    api.revoke_key(&key.key).await?;
    if json {
        let told = serde_json::json!({ "key": key.key, "name": key.name, "revoked": true });
        writeln!(std::io::stdout(), "{told:#}")?;
    } else {
        writeln!(std::io::stdout(), "{}  {}  revoked", key.key, one_line(&key.name))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The key that was meant: an id or a name, else the beginning of an id. Revoked ones do not count.
fn choose<'a>(typed: &str, keys: &'a [KeySummary]) -> Result<&'a KeySummary, Failure> {
    let valid = || keys.iter().filter(|key| key.revoked_milliseconds.is_none());
    if let Some(key) = valid().find(|key| key.key.as_str() == typed || key.name == typed) {
        return Ok(key);
    }
    let bare = |key: &&KeySummary| {
        let id = key.key.as_str();
        !typed.is_empty() && (id.starts_with(typed) || id.trim_start_matches("key-").starts_with(typed))
    };
    let mut found = valid().filter(bare);
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key),
        (None, _) => {
            Err(Failure::new(Exit::NotFound, format!("there is no valid key `{}`", one_line(typed)))
                .hint("`wavetask key ls` lists them"))
        }
        (Some(_), Some(_)) => {
            Err(Failure::new(Exit::NotFound, format!("several keys begin with `{}`", one_line(typed)))
                .hint("type more of the id, or the name"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetask_protocol::native::Usage;

    #[test]
    fn a_key_is_found_by_id_name_or_beginning_but_not_once_revoked() {
        let key = |id: &str, name: &str, revoked| KeySummary {
            key: id.parse().unwrap(),
            name: name.to_owned(),
            created_milliseconds: 0,
            administrator: false,
            revoked_milliseconds: revoked,
            quota: Quota::default(),
            usage: Usage::default(),
        };
        let keys =
            [key("key-abc1", "lab", None), key("key-abd2", "office", None), key("key-x", "old", Some(1))];
        assert_eq!(choose("office", &keys).unwrap().key.as_str(), "key-abd2");
        assert_eq!(choose("key-abc1", &keys).unwrap().name, "lab");
        assert_eq!(choose("abd", &keys).unwrap().name, "office");
        for wrong in ["ab", "old", "key-x", "", "nobody"] {
            assert!(choose(wrong, &keys).is_err(), "{wrong}");
        }
    }
}
