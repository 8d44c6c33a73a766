//! The statement that lists tasks.

use rusqlite::types::Value;

use super::batches::searchable;
use crate::batch::{Comparison, ParameterCondition};
use crate::model::{Cursor, TaskFilter};

/// Conditions on one table, joined with "and". Only question marks go into the text.
#[derive(Default)]
struct Conditions {
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    fn require(&mut self, text: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.texts.push(text.into());
        self.values.extend(values);
    }

    fn joined(&self) -> String {
        self.texts.join(" AND ")
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn one_of(column: &str, count: usize) -> String {
    format!("{column} IN ({})", vec!["?"; count].join(", "))
}

/// The statement and its values for a filter; the limit is the caller's last value.
pub(super) fn selection(filter: &TaskFilter, after: Option<&Cursor>) -> (String, Vec<Value>) {
    let mut conditions = Conditions::default();
    if let Some(owner) = &filter.owner {
        conditions.require("owner = ?", [text(owner.as_str())]);
    }
    if let Some(folder) = &filter.folder {
        conditions.require("folder = ?", [text(folder.as_str())]);
    }
    if filter.states.is_empty() {
        conditions.require("state <> 'deleted'", []);
    } else {
        let states = filter.states.iter().map(|state| text(state.as_str()));
        conditions.require(one_of("state", filter.states.len()), states);
    }
    if !filter.kinds.is_empty() {
        let kinds = filter.kinds.iter().map(|kind| text(kind.as_str()));
        conditions.require(one_of("kind", filter.kinds.len()), kinds);
    }
    if let Some(part) = &filter.name_contains {
        conditions.require("instr(lower(name), lower(?)) > 0", [text(part)]);
    }
    if let Some(from) = filter.created_from {
        conditions.require("created_at >= ?", [Value::Integer(from.as_milliseconds())]);
    }
    if let Some(before) = filter.created_before {
        conditions.require("created_at < ?", [Value::Integer(before.as_milliseconds())]);
    }
    if !filter.tasks.is_empty() {
        // One value, however many tasks there are: the statement stays the same, and no limit is met.
        let list = serde_json::Value::from_iter(filter.tasks.iter().map(|task| task.as_str().to_owned()));
        conditions.require("id IN (SELECT value FROM json_each(?))", [Value::Text(list.to_string())]);
    }
    if filter.tag.is_some() || filter.batch.is_some() || !filter.parameters.is_empty() {
        let members = membership(filter);
        conditions.require(
            format!(
                "id IN (SELECT task FROM batch_members AS member
                    JOIN batches AS batch ON batch.number = member.batch WHERE {})",
                members.joined()
            ),
            members.values,
        );
    }
    if let (Some(tag), Some(owner)) = (&filter.without_tag, &filter.owner) {
        conditions.require(
            "NOT EXISTS (SELECT 1 FROM batch_members AS member JOIN batch_tags AS tagged USING (batch)
                WHERE member.task = tasks.id AND tagged.owner = ? AND tagged.tag = ?)",
            [text(owner.as_str()), text(tag)],
        );
    }
    if let Some(cursor) = after {
        let place = [Value::Integer(cursor.created_at.as_milliseconds()), text(cursor.task.as_str())];
        conditions.require("(created_at, id) < (?, ?)", place);
    }
    let sql = format!(
        "SELECT record FROM tasks WHERE {} ORDER BY created_at DESC, id DESC LIMIT ?",
        conditions.joined()
    );
    (sql, conditions.values)
}

/// What a member and its batch must satisfy.
fn membership(filter: &TaskFilter) -> Conditions {
    let mut conditions = Conditions::default();
    if let Some(owner) = &filter.owner {
        conditions.require("batch.owner = ?", [text(owner.as_str())]);
    }
    if let Some(name) = &filter.batch {
        conditions.require("batch.name = ?", [text(name)]);
    }
    if let Some(tag) = &filter.tag {
        conditions.require(
            "batch.number IN (SELECT tagged.batch FROM batch_tags AS tagged
                WHERE tagged.owner = batch.owner AND tagged.tag = ?)",
            [text(tag)],
        );
    }
    for condition in &filter.parameters {
        let (comparison, value) = comparison(condition);
        let mut values = vec![text(&condition.name)];
        values.extend(value);
        let owner = match &filter.owner {
            Some(owner) => {
                values.insert(0, text(owner.as_str()));
                "?"
            }
            None => "batch.owner",
        };
        conditions.require(
            format!(
                "member.number IN (SELECT parameters.member FROM parameters
                    WHERE owner = {owner} AND parameters.name = ? AND {comparison})"
            ),
            values,
        );
    }
    conditions
}

/// The condition on `value`. SQLite orders numbers before texts before blobs, so each type is a range of its own.
fn comparison(condition: &ParameterCondition) -> (String, Vec<Value>) {
    let never = || ("FALSE".to_owned(), Vec::new());
    let Some(value) = searchable(&condition.value) else { return never() };
    let operator = match condition.operator {
        Comparison::Equal => "=",
        Comparison::NotEqual => "<>",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    };
    let same_type = match &value {
        Value::Text(_) => "value >= '' AND value < x''",
        Value::Blob(_) if !matches!(condition.operator, Comparison::Equal | Comparison::NotEqual) => {
            return never();
        }
        Value::Blob(_) => "value >= x''",
        _ => "value < ''",
    };
    (format!("value {operator} ? AND {same_type}"), vec![value])
}
