//! What the server does by itself now and then: end leases, collect garbage, clear away uploads, forget what is
//! long gone.

use std::sync::Arc;
use std::time::Duration;

use wavetask_core::Timestamp;
use wavetask_protocol::{TaskState, chain};
use wavetask_store::collect_released;

use crate::answer::Refused;
use crate::app::{App, now};

/// How often leases are looked at.
const LEASES: Duration = Duration::from_millis(500);

/// How often released blocks are looked at.
const GARBAGE: Duration = Duration::from_secs(20);

/// How long a block that a client has sent is kept although no task needs it: as long as the client may take to
/// come back with the simulation that does.
const ARRIVALS: Duration = Duration::from_secs(24 * 60 * 60);

/// How long deleted tasks and their events are remembered: who follows the events and was away for longer reads
/// the tasks anew.
const DELETED: Duration = Duration::from_secs(24 * 60 * 60);

/// Deleted tasks that are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: usize = 500;

/// How often uploads are looked at.
const UPLOADS: Duration = Duration::from_secs(15 * 60);

/// How long an upload that nobody validates is kept.
const FORGOTTEN_UPLOAD: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Ends leases whose worker has been silent for too long, for as long as it is polled.
pub(crate) async fn expire_leases(app: Arc<App>) {
    loop {
        tokio::time::sleep(LEASES).await;
        let expired = app
            .blocking(|app| {
                if app.tasks.next_expiry()?.is_none_or(|at| at > now()) {
                    return Ok(());
                }
                for applied in app.tasks.expire_leases(now())? {
                    let (task, state) = (applied.record.id(), applied.record.state);
                    tracing::warn!(%task, %state, "a worker was lost");
                    app.carry_out(&applied.effects);
                }
                Ok(())
            })
            .await;
        pause_after(expired).await;
    }
}

/// Removes blocks that no document needs any more, for as long as it is polled.
pub(crate) async fn collect_garbage(app: Arc<App>) {
    loop {
        let collected = app
            .blocking(|app| {
                app.cut_off.forget_old();
                app.kept_blocks.forget_unused();
                forget(app)?;
                let collected = collect_released(&*app.tasks, &*app.blocks)?;
                if collected.examined > 0 {
                    tracing::debug!(?collected, "garbage was collected");
                }
                Ok(())
            })
            .await;
        pause_after(collected).await;
        tokio::time::sleep(GARBAGE).await;
    }
}

/// Forgets what has been kept for long enough.
fn forget(app: &App) -> Result<(), Refused> {
    let ago = |duration: Duration| {
        let milliseconds = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_milliseconds(now().as_milliseconds().saturating_sub(milliseconds))
    };
    let arrivals = app.tasks.expire_arrivals(ago(ARRIVALS))?;
    if arrivals > 0 {
        tracing::debug!(arrivals, "blocks that were sent a day ago are no longer kept for that");
    }
    while app.tasks.prune_events(ago(DELETED), FORGOTTEN_AT_ONCE)? == FORGOTTEN_AT_ONCE as u64 {}
    Ok(())
}

/// Removes uploads of tasks that will not be validated, for as long as it is polled.
pub(crate) async fn clear_uploads(app: Arc<App>) {
    loop {
        let cleared = app
            .blocking(|app| {
                for (task, age) in app.staging.tasks()? {
                    let record = app.tasks.task(&task)?;
                    let wanted = record.is_some_and(|record| match record.state {
                        TaskState::Draft => age < FORGOTTEN_UPLOAD,
                        TaskState::Validating => true,
                        _ => false,
                    });
                    if !wanted && let Err(error) = app.staging.discard(&task) {
                        tracing::warn!(%task, %error, "an upload could not be cleared away");
                    }
                }
                Ok(())
            })
            .await;
        pause_after(cleared).await;
        tokio::time::sleep(UPLOADS).await;
    }
}

/// After a failure, which has been logged: do not spin.
async fn pause_after(result: Result<(), Refused>) {
    if let Err(refused) = result {
        tracing::debug!(reason = refused.message(), "care of the store failed; it will be tried again");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Puts right what an earlier run left unfinished.
pub(crate) fn recover(app: &App) -> Result<(), wavetask_store::StoreError> {
    let recovery = app.tasks.recover(now())?;
    if !recovery.validations.is_empty() || !recovery.publications.is_empty() || recovery.leases > 0 {
        tracing::info!(
            validations = recovery.validations.len(),
            publications = recovery.publications.len(),
            leases = recovery.leases,
            "an earlier run was cut off; what it left has been put right"
        );
    }
    if let Err(error) = app.staging.remove_temporary() {
        tracing::warn!(error = chain(&error), "temporary files of an earlier run could not be removed");
    }
    Ok(())
}
