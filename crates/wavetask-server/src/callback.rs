//! Telling a user's address that a task has ended.
//!
//! The store queues a callback in the same transaction as the task's end, so none is lost by a crash; it is
//! tried again until it arrives or its time is over. The address is the user's, and the server sits where
//! the user may not reach: therefore the name is resolved here, the *address* is checked, and exactly that
//! address is connected to, without proxies and without following redirects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use url::{Host, Url};
use wavetask_protocol::{TaskId, chain};
use wavetask_store::Callback;

use crate::app::{App, now};
use crate::tidy3d::status::status_word;

/// Longest address that is accepted.
const LONGEST: usize = 2_000;

/// How long one try may take.
const TRY: Duration = Duration::from_secs(15);

/// Tries before a callback is given up: with the pauses between them about a day.
const TRIES: u32 = 14;

/// Callbacks sent at the same time.
const TOGETHER: usize = 8;

/// How often due callbacks are looked for when nobody says that there is one.
const LOOK: Duration = Duration::from_secs(5);

/// An address that callbacks are not sent to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallbackRefused {
    #[error("the callback address is not a URL of at most {LONGEST} characters")]
    NotAUrl,
    #[error("callbacks go to http addresses; {0} is not supported")]
    Scheme(String),
    #[error("the callback address must not hold a user name or password")]
    Credentials,
    #[error(
        "callbacks to {0}, on this machine or in a private network, are refused (`wavetask serve \
         --allow-private-callbacks` allows them)"
    )]
    Private(IpAddr),
    #[error("the host of the callback address cannot be found")]
    Unknown(#[source] std::io::Error),
}

/// Checks an address as far as that goes without asking the network.
pub(crate) fn check_url(text: &str, allow_private: bool) -> Result<Url, CallbackRefused> {
    if text.len() > LONGEST {
        return Err(CallbackRefused::NotAUrl);
    }
    let url = Url::parse(text).map_err(|_| CallbackRefused::NotAUrl)?;
    if url.scheme() != "http" {
        return Err(CallbackRefused::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(CallbackRefused::Credentials);
    }
    let address = match url.host() {
        None => return Err(CallbackRefused::NotAUrl),
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) => None,
    };
    match address {
        Some(address) if !allow_private && !is_public(address) => Err(CallbackRefused::Private(address)),
        _ => Ok(url),
    }
}

/// Whether an address is one that anybody on the internet could reach as well as we can.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => {
            // Addresses that carry an older one are as public as that.
            if let Some(address) = address.to_ipv4_mapped() {
                return is_public_v4(address);
            }
            let segments = address.segments();
            let embedded = |high: u16, low: u16| {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                is_public_v4(Ipv4Addr::new(a, b, c, d))
            };
            match segments {
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
                [0x2002, high, low, ..] => embedded(high, low),
                // Of 2001::/32 (Teredo) and 2001:db8::/32 (documentation) nothing is needed.
                [0x2001, 0 | 0xdb8, ..] => false,
                [first, ..] => first & 0xe000 == 0x2000,
            }
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18)
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224)
}

/// The address of a host, checked.
async fn resolve(url: &Url, allow_private: bool) -> Result<SocketAddr, CallbackRefused> {
    let port = url.port_or_known_default().unwrap_or(80);
    let found: Vec<SocketAddr> = match url.host() {
        None => return Err(CallbackRefused::NotAUrl),
        Some(Host::Ipv4(address)) => vec![(address, port).into()],
        Some(Host::Ipv6(address)) => vec![(address, port).into()],
        Some(Host::Domain(name)) => {
            tokio::net::lookup_host((name, port)).await.map_err(CallbackRefused::Unknown)?.collect()
        }
    };
    let mut refused = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    for address in found {
        if allow_private || is_public(address.ip()) {
            return Ok(address);
        }
        refused = address.ip();
    }
    Err(CallbackRefused::Private(refused))
}

/// Sends callbacks for as long as it is polled.
pub(crate) async fn run(app: Arc<App>) {
    loop {
        let woken = app.watch.callback();
        let due = app.blocking(|app| Ok(app.tasks.callbacks_due(now(), TOGETHER)?)).await.unwrap_or_default();
        let more = due.len() == TOGETHER;
        futures::future::join_all(due.into_iter().map(|callback| send(&app, callback))).await;
        if !more {
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

/// Tries one callback and notes what came of it.
async fn send(app: &Arc<App>, callback: Callback) {
    let tried = tokio::time::timeout(TRY, put(app, &callback)).await;
    let (task, tries) = (callback.task.clone(), callback.tries + 1);
    let noted = match tried {
        Ok(Ok(())) => app.blocking(move |app| Ok(app.tasks.callback_sent(callback.id)?)).await,
        other => {
            let reason = match other {
                Ok(Err(error)) => chain(&*error),
                _ => format!("no answer within {} s", TRY.as_secs()),
            };
            if tries >= TRIES {
                tracing::warn!(%task, reason, "a callback is given up");
                app.blocking(move |app| Ok(app.tasks.callback_sent(callback.id)?)).await
            } else {
                tracing::info!(%task, tries, reason, "a callback did not arrive; it will be tried again");
                app.blocking(move |app| {
                    Ok(app.tasks.callback_failed(callback.id, now().plus(pause(tries)))?)
                })
                .await
            }
        }
    };
    if noted.is_err() {
        // The store is in trouble: do not spin.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The pause before the next try: 2 s, doubled each time, two and a half hours at most.
fn pause(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.min(13))
}

async fn put(app: &Arc<App>, callback: &Callback) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let allow_private = app.config.allow_private_callbacks;
    let url = check_url(&callback.url, allow_private)?;
    let Some(body) = body(app, &callback.task).await else { return Ok(()) };
    let address = resolve(&url, allow_private).await?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TRY)
        .resolve(url.host_str().unwrap_or_default(), address)
        .build()?;
    let status = client.put(url).json(&body).send().await?.status();
    if status.is_success() { Ok(()) } else { Err(format!("the answer was {status}").into()) }
}

/// What is told; nothing if the task was deleted meanwhile.
async fn body(app: &Arc<App>, task: &TaskId) -> Option<serde_json::Value> {
    let task = task.clone();
    let record = app.blocking(move |app| Ok(app.tasks.task(&task)?)).await.ok()??;
    let spent = match (record.started_at, record.finished_at) {
        (Some(started), Some(finished)) => finished.since(started).as_secs_f64(),
        _ => 0.0,
    };
    Some(json!({
        "id": record.id(),
        "status": status_word(record.state),
        "name": record.task.name,
        "workUnit": spent,
        "solverVersion": concat!("wavetask-", env!("CARGO_PKG_VERSION")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_in_all_their_spellings_are_refused() {
        for text in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0/",
            "http://10.1.2.3:8080/x",
            "http://172.31.0.1/",
            "http://192.168.0.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[fe80::1]/",
            "http://[fd00::1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://255.255.255.255/",
            "http://224.0.0.1/",
        ] {
            assert!(matches!(check_url(text, false), Err(CallbackRefused::Private(_))), "{text}");
            assert!(check_url(text, true).is_ok(), "{text}");
        }
        for text in ["http://93.184.216.34/", "http://[2606:2800:220:1::1]/x", "http://example.org/hook"] {
            assert!(check_url(text, false).is_ok(), "{text}");
        }
    }

    #[test]
    fn other_schemes_and_nonsense_are_refused() {
        assert!(matches!(check_url("file:///etc/passwd", true), Err(CallbackRefused::Scheme(_))));
        assert!(matches!(check_url("https://example.org/", true), Err(CallbackRefused::Scheme(_))));
        assert!(matches!(check_url("http://user:pw@example.org/", true), Err(CallbackRefused::Credentials)));
        assert!(matches!(check_url("hello", true), Err(CallbackRefused::NotAUrl)));
        assert!(matches!(
            check_url(&format!("http://a/{}", "x".repeat(3000)), true),
            Err(CallbackRefused::NotAUrl)
        ));
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_when_it_is_resolved() {
        let url = check_url("http://localhost:9/", false).unwrap();
        assert!(matches!(resolve(&url, false).await, Err(CallbackRefused::Private(_))));
        assert!(resolve(&url, true).await.is_ok());
    }

    #[test]
    fn pauses_add_up_to_about_half_a_day() {
        let total: u64 = (1..TRIES).map(|tries| pause(tries).as_secs()).sum();
        assert!((4..48).contains(&(total / 3600)), "{total}");
    }
}
