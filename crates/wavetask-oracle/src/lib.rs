//! Starts the Python programs that tests compare with: the client's own classes, h5py, boto3, xarray.
//!
//! A development dependency of the crates whose tests ask an oracle, so that all of them find the interpreter in the
//! same way and none passes because its oracle failed in silence. A variable of the environment names the interpreter.
//! Where it is not set, the comparison is left out, and says so.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The variable that names a Python with the newest client.
pub const NEWEST: &str = "WAVETASK_TEST_PYTHON";

/// The variable that names a Python with an older client.
pub const OLDER: &str = "WAVETASK_TEST_PYTHON_OLD";

/// A program of the interpreter that `variable` names, still without arguments; `None` after a notice if it is not set.
///
/// One thread computes, so that tests beside it have theirs, and nothing is written beside the script.
pub fn command(variable: &str, script: impl AsRef<Path>) -> Option<Command> {
    let script = script.as_ref();
    let Some(python) = std::env::var_os(variable) else {
        eprintln!("skipped: {variable} is not set, and {} needs it", script.display());
        return None;
    };
    let mut command = Command::new(python);
    command.arg(script).envs([
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONWARNINGS", "ignore"),
        ("TIDY3D_LOCAL_CACHE__ENABLED", "false"),
    ]);
    Some(command)
}

/// Runs a program to its end with this on its standard input, and returns what it wrote to its standard output.
///
/// # Panics
/// If it cannot be started, or fails: with everything that it said.
pub fn finish(command: &mut Command, input: &[u8]) -> String {
    let name = command.get_args().next().map(OsStr::to_os_string).unwrap_or_default();
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().and_then(
        |mut child| {
            if let Some(mut pipe) = child.stdin.take() {
                pipe.write_all(input)?;
            }
            child.wait_with_output()
        },
    );
    match child {
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {}\n{told}\n{complaint}", name.display(), output.status);
            told
        }
        Err(error) => panic!("{} cannot be run: {error}", name.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_not_set_leaves_the_comparison_out() {
        assert!(command("WAVETASK_TEST_NO_SUCH_PYTHON", "tests/oracle.py").is_none());
    }

    #[test]
    fn what_a_program_says_is_returned() {
        assert_eq!(finish(Command::new("sh").args(["-c", "cat; echo told"]), b"asked, "), "asked, told\n");
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn a_program_that_fails_ends_the_test_with_its_complaint() {
        finish(Command::new("sh").args(["-c", "echo out of order >&2; exit 3"]), b"");
    }
}
