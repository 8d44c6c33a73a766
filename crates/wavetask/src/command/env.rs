//! `wavetask env`: the settings that point the unmodified tidy3d client at the server.
//!
//! Four variables do it, and nothing is written into the user's configuration:
//! `SIMCLOUD_APIKEY` beats every other source of the key, the two endpoint variables are the client's
//! own, and `AWS_ENDPOINT_URL_S3` is read by the AWS library under the client, which sends uploads and
//! downloads there: the same address, because the server speaks both on one port.

use std::io::Write;
use std::process::ExitCode;

use crate::arguments::{EnvArguments, Shell};
use crate::failure::Failure;
use crate::locate::{Absent, Connection, Surroundings, locate};

/// The names and values, in the order in which they are printed.
pub(crate) fn settings(connection: &Connection, no_client_cache: bool) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("SIMCLOUD_APIKEY", connection.key.clone()),
        ("TIDY3D_WEB__API_ENDPOINT", connection.url.clone()),
        ("TIDY3D_WEB__WEBSITE_ENDPOINT", connection.url.clone()),
        ("AWS_ENDPOINT_URL_S3", connection.url.clone()),
    ];
    if no_client_cache {
        settings.push(("TIDY3D_LOCAL_CACHE__ENABLED", "false".to_owned()));
    }
    settings
}

pub(crate) fn run(arguments: &EnvArguments) -> Result<ExitCode, Failure> {
    let surroundings = Surroundings::of_process(arguments.data.data.clone());
    let connection = locate(&surroundings, Absent::StartAgain)?;
    let settings = settings(&connection, arguments.no_client_cache);
    let mut output = std::io::stdout().lock();
    if arguments.json {
        let object: serde_json::Map<String, serde_json::Value> =
            settings.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        writeln!(output, "{}", serde_json::Value::from(object))?;
    } else {
        for (name, value) in settings {
            writeln!(output, "{}", assignment(arguments.shell, name, &value))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line that sets and exports a variable. The semicolon keeps `eval $(wavetask env)` right when
/// the quotes are forgotten.
fn assignment(shell: Shell, name: &str, value: &str) -> String {
    match shell {
        Shell::Bash => format!("export {name}='{}';", value.replace('\'', r"'\''")),
        Shell::Fish => format!("set -gx {name} '{}';", value.replace('\\', r"\\").replace('\'', r"\'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_shell_whatever_they_contain() {
        let nasty = r#"a'b"c $HOME `id` \ ; end"#;
        let script =
            format!("{}printf %s \"$WAVETASK_TEST\"", assignment(Shell::Bash, "WAVETASK_TEST", nasty));
        for shell in ["bash", "sh"] {
            let output = std::process::Command::new(shell).arg("-c").arg(&script).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), nasty, "{shell}");
        }
        assert_eq!(assignment(Shell::Fish, "A", r"it's \x"), r"set -gx A 'it\'s \\x';");
    }
}
