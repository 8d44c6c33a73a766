use wavetask_document::Digest;
use wavetask_protocol::TaskKind;
use wavetask_protocol::native::{MemberDocument, NewMember};

use super::*;
use crate::member::BlockPlace;

fn record(batch: &str, named: bool, nonce: &str) -> SubmissionRecord {
    SubmissionRecord {
        row: 0,
        batch: batch.into(),
        named,
        token: "token".into(),
        nonce: nonce.into(),
        program: "script".into(),
        lazy: false,
        tags: vec!["paper".into()],
        sealed: false,
        finished: false,
    }
}

fn payload(row: i64, key: &str, position: u64, contents: &[Vec<u8>]) -> Arc<Payload> {
    let mut blocks: Vec<_> = contents
        .iter()
        .map(|bytes| {
            let place =
                BlockPlace { array: Arc::new(bytes.clone()), offset: 0, length: bytes.len(), width: 8 };
            (Digest::of(bytes), place)
        })
        .collect();
    blocks.sort_unstable_by_key(|(digest, _)| *digest);
    let document =
        serde_json::value::RawValue::from_string(r#"{"json":"{}","arrays":{}}"#.to_owned()).unwrap();
    let member = NewMember {
        key: key.into(),
        position,
        kind: TaskKind::Heat,
        name: key.into(),
        folder: "default".into(),
        document: MemberDocument::Inline(document),
        parameters: [("I".to_owned(), serde_json::json!(0.004))].into(),
        inputs: Vec::new(),
        after: Vec::new(),
        cache: true,
        hold: false,
        priority: 0,
        idempotency_key: format!("key of {key}"),
    };
    Arc::new(Payload { row, member, document_bytes: 25, blocks })
}

fn rows(journal: &Journal, table: &str) -> i64 {
    journal.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn what_was_written_is_found_by_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client").join("journal.db");
    let small = vec![7_u8; 1000];
    let large = vec![9_u8; 2 << 20];
    {
        let mut journal = Journal::open(&path).unwrap();
        let begun = journal.begin("here", &record("scan", true, ""), 5).unwrap();
        let members = [
            payload(begun.row, "a", 0, std::slice::from_ref(&small)),
            payload(begun.row, "b", 1, &[large.clone(), small.clone()]),
        ];
        journal.add(&members).unwrap();
        journal.note(&[Note::Sealed { row: begun.row }], 6).unwrap();
        // Dropped without a word, as by a kill.
    }
    let mut journal = Journal::open(&path).unwrap();
    let (found, members) = journal.find("here", "scan").unwrap().unwrap();
    assert!(found.sealed && found.named && found.tags == ["paper"]);
    assert_eq!(members.len(), 2);
    let (first, complete) = members[0].payload.as_ref().unwrap();
    assert!(complete);
    assert_eq!(first.member.idempotency_key, "key of a");
    assert_eq!(first.member.parameters["I"], serde_json::json!(0.004));
    assert_eq!(first.blocks[0].1.bytes(), &small[..]);
    assert_eq!(first.blocks[0].1.width, 8);
    let (second, complete) = members[1].payload.as_ref().unwrap();
    assert!(!complete, "large arrays are not copied");
    assert_eq!(second.blocks.len(), 2, "but what they are is known");
    assert!(journal.find("elsewhere", "scan").unwrap().is_none());
}

#[test]
fn what_is_placed_takes_no_room_and_finished_submissions_are_forgotten() {
    let mut journal = Journal::in_memory();
    let begun = journal.begin("here", &record("scan", true, ""), 5).unwrap();
    let shared = vec![1_u8; 500];
    journal
        .add(&[
            payload(begun.row, "a", 0, std::slice::from_ref(&shared)),
            payload(begun.row, "b", 1, std::slice::from_ref(&shared)),
        ])
        .unwrap();
    assert_eq!((rows(&journal, "block"), rows(&journal, "member_block")), (1, 2));
    let task: TaskId = "task-1".parse().unwrap();
    journal.note(&[Note::Placed { row: begun.row, position: 0, task: task.clone() }], 6).unwrap();
    assert_eq!(rows(&journal, "block"), 1, "the other member still needs it");
    journal.note(&[Note::Ended { row: begun.row, position: 1 }], 6).unwrap();
    assert_eq!((rows(&journal, "block"), rows(&journal, "member_block")), (0, 0));
    let (_, members) = journal.find("here", "scan").unwrap().unwrap();
    assert_eq!(members[0].task, Some(task));
    assert!(members.iter().all(|member| member.payload.is_none()));
    journal.prune(100, 0).unwrap();
    assert_eq!(rows(&journal, "submission"), 1, "it has not finished");
    journal.note(&[Note::Finished { row: begun.row }], 7).unwrap();
    journal.prune(7, 0).unwrap();
    assert_eq!(rows(&journal, "submission"), 1);
    journal.prune(8, 0).unwrap();
    assert_eq!((rows(&journal, "submission"), rows(&journal, "member")), (0, 0));
}

#[test]
fn a_submission_that_was_cut_off_passes_its_nonce_on_until_it_has_finished() {
    let mut journal = Journal::in_memory();
    let first = journal.begin("here", &record("scan", true, "one"), 1).unwrap();
    let again = journal.begin("here", &record("scan", true, "two"), 2).unwrap();
    assert_eq!((first.nonce.as_str(), again.nonce.as_str()), ("one", "one"));
    let cached = journal.begin("here", &record("scan", true, ""), 3).unwrap();
    assert_eq!(cached.nonce, "");
    let other = journal.begin("elsewhere", &record("scan", true, "three"), 3).unwrap();
    assert_eq!(other.nonce, "three");
    let unnamed = journal.begin("here", &record("scan", false, "four"), 3).unwrap();
    assert_eq!(unnamed.nonce, "four");
    journal.note(&[Note::Finished { row: again.row }], 4).unwrap();
    let anew = journal.begin("here", &record("scan", true, "five"), 5).unwrap();
    assert_eq!(anew.nonce, "five");
}

/// A program that submits the same once more wants it once more, whether the first has been noted as finished or not.
#[test]
fn a_process_continues_what_others_have_begun_and_not_what_it_is_at_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut first = Journal::open(&path).unwrap();
    let begun = first.begin("here", &record("scan", true, "one"), 1).unwrap();
    let again = first.begin("here", &record("scan", true, "two"), 2).unwrap();
    assert_eq!(again.nonce, "two");
    first.note(&[Note::Finished { row: again.row }], 3).unwrap();
    let cut_off = first.begin("here", &record("scan", true, "three"), 4).unwrap();
    first.note(&[Note::CutOff { row: cut_off.row }], 5).unwrap();
    let goes_on = first.begin("here", &record("scan", true, "four"), 6).unwrap();
    assert_eq!((begun.nonce.as_str(), goes_on.nonce.as_str()), ("one", "three"));
    let mut second = Journal::open(&path).unwrap();
    assert_eq!(second.begin("here", &record("scan", true, "five"), 7).unwrap().nonce, "three");
}

/// Without a name, a submission that was cut off is known by its program and by what it submits.
#[test]
fn an_unnamed_submission_that_was_cut_off_is_found_by_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let identity = |content: &'static str| move |nonce: &str| format!("key of {content} in {nonce}");
    let mut number = 0;
    let mut submit = |journal: &mut Journal, program: &str, content: &'static str| {
        number += 1;
        let wanted = SubmissionRecord {
            program: program.into(),
            ..record(&format!("automatic {number}"), false, &format!("nonce {number}"))
        };
        let begun = journal.begin("here", &wanted, number).unwrap();
        let nonce = journal.claim("here", begun.row, identity(content)).unwrap();
        journal.add(&[payload(begun.row, &format!("{content} in {nonce}"), 0, &[])]).unwrap();
        (begun.row, nonce)
    };
    let mut first = Journal::open(&path).unwrap();
    let (_, one) = submit(&mut first, "script", "a");
    let (_, two) = submit(&mut first, "script", "a");
    let (_, other) = submit(&mut first, "script", "b");
    assert_eq!([one.as_str(), &two, &other], ["nonce 1", "nonce 2", "nonce 3"], "one process, three runs");
    let mut beside = Journal::open(&path).unwrap();
    assert_eq!(submit(&mut beside, "script", "a").1, "nonce 4", "two processes at once, two runs");
    drop(first);

    // The same script again, in whatever order its threads come.
    let mut second = Journal::open(&path).unwrap();
    assert_eq!(submit(&mut second, "another", "a").1, "nonce 5");
    assert_eq!(submit(&mut second, "script", "b").1, "nonce 3");
    assert_eq!(submit(&mut second, "script", "c").1, "nonce 7");
    assert_eq!(submit(&mut second, "script", "a").1, "nonce 1");
    let (last, nonce) = submit(&mut second, "script", "a");
    assert_eq!(nonce, "nonce 2");
    assert_eq!(
        submit(&mut second, "script", "a").1,
        "nonce 10",
        "all that was cut off has been gone on with"
    );
    second.note(&[Note::Finished { row: last }], 20).unwrap();
    drop(second);
    // Cut off once more: what has finished meanwhile is over, in both of its submissions.
    let mut third = Journal::open(&path).unwrap();
    assert_eq!(submit(&mut third, "script", "a").1, "nonce 1");
    assert_eq!(submit(&mut third, "script", "a").1, "nonce 10");
    assert_eq!(submit(&mut third, "script", "a").1, "nonce 13");
}

/// The members of all submissions that were cut off belong to the batch, the latest of each key.
#[test]
fn a_repetition_that_was_cut_off_early_hides_nothing() {
    let mut journal = Journal::in_memory();
    let first = journal.begin("here", &record("scan", true, ""), 1).unwrap();
    journal.add(&[payload(first.row, "a", 0, &[]), payload(first.row, "b", 1, &[])]).unwrap();
    let task: TaskId = "task-1".parse().unwrap();
    journal.note(&[Note::Placed { row: first.row, position: 0, task }], 2).unwrap();
    let second = journal.begin("here", &record("scan", true, ""), 3).unwrap();
    journal.add(&[payload(second.row, "a", 0, &[])]).unwrap();
    let (found, members) = journal.find("here", "scan").unwrap().unwrap();
    assert_eq!(found.row, second.row);
    let keys: Vec<_> = members.iter().map(|member| (member.key.as_str(), member.payload.is_some())).collect();
    assert_eq!(keys, [("a", true), ("b", true)]);
}

#[test]
fn damaged_foreign_and_newer_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let code = |name: &str| Journal::open(&folder.path().join(name)).map(|_| ()).unwrap_err().code;

    std::fs::write(folder.path().join("text"), b"this is not a database, however long it may be").unwrap();
    assert_eq!(code("text"), "journal.damaged");

    let foreign = Connection::open(folder.path().join("foreign")).unwrap();
    foreign.execute_batch("CREATE TABLE mine (x)").unwrap();
    assert_eq!(code("foreign"), "journal.foreign");

    drop(Journal::open(&folder.path().join("newer")).unwrap());
    let newer = Connection::open(folder.path().join("newer")).unwrap();
    newer.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    assert_eq!(code("newer"), "journal.too_new");

    let path = folder.path().join("torn");
    {
        let mut journal = Journal::open(&path).unwrap();
        let begun = journal.begin("here", &record("scan", true, ""), 1).unwrap();
        let members: Vec<_> =
            (0..200).map(|index| payload(begun.row, &format!("{index}"), index, &[])).collect();
        journal.add(&members).unwrap();
        journal.connection.pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap_or(());
        journal.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    }
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 6_000] {
        *byte = !*byte;
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(code("torn"), "journal.damaged");
}

#[test]
fn a_full_disk_fails_what_was_to_be_written_and_nothing_else() {
    let mut journal = Journal::in_memory();
    let begun = journal.begin("here", &record("scan", true, ""), 1).unwrap();
    let pages: i64 = journal.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    journal.connection.pragma_update(None, "max_page_count", pages + 4).unwrap();
    let noise: Vec<u8> = (0..200_000_u64).flat_map(blake3_byte).collect();
    let error =
        journal.add(&[payload(begun.row, "a", 0, &[]), payload(begun.row, "b", 1, &[noise])]).unwrap_err();
    assert_eq!(error.code, "journal.disk_full");
    assert_eq!(rows(&journal, "member"), 0, "all or none");
    journal.add(&[payload(begun.row, "a", 0, &[])]).unwrap();
    assert_eq!(rows(&journal, "member"), 1);
}

fn blake3_byte(index: u64) -> [u8; 1] {
    [Digest::of(&index.to_le_bytes()).as_bytes()[0]]
}

/// Whoever opens a batch learns whether the process that submits it lives.
#[test]
fn a_batch_is_somebody_s_as_long_as_that_process_lives_and_goes_on_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut script = Journal::open(&path).unwrap();
    let mut reader = Journal::open(&path).unwrap();
    let begun = script.begin("here", &record("scan", true, ""), 1).unwrap();
    script.add(&[payload(begun.row, "a", 0, &[]), payload(begun.row, "b", 1, &[])]).unwrap();
    let lives =
        |journal: &mut Journal| journal.standing("here", "scan").unwrap().map(|standing| standing.lives);
    assert_eq!(reader.standing("here", "scan").unwrap(), Some(Standing { lives: true, members: 2 }));
    assert_eq!(reader.standing("here", "another").unwrap(), None);
    drop(script);
    assert_eq!(lives(&mut reader), Some(false), "the process is gone");
    reader.note(&[Note::TakenOver { row: begun.row }], 2).unwrap();
    let mut third = Journal::open(&path).unwrap();
    assert_eq!(lives(&mut third), Some(true), "the reader goes on with it");
    reader.note(&[Note::CutOff { row: begun.row }], 3).unwrap();
    assert_eq!(lives(&mut third), Some(false), "the reader lives, and is through with it");
    third.note(&[Note::Finished { row: begun.row }], 4).unwrap();
    assert_eq!(lives(&mut third), None, "nothing is left to go on with");
}

#[test]
fn what_could_not_be_packed_is_kept_with_its_reason() {
    let failure = |key: &str, code: &str| FailureRecord {
        key: key.into(),
        name: format!("{key} for people"),
        parameters: [("I".to_owned(), serde_json::json!(4))].into(),
        error: ClientError::new(ErrorGroup::InvalidSimulation, code, "No.").hint("Mend it."),
    };
    let mut journal = Journal::in_memory();
    let first = journal.begin("here", &record("scan", true, ""), 1).unwrap();
    journal.fail(first.row, 3, &failure("b", "first")).unwrap();
    journal.fail(first.row, 1, &failure("a", "first")).unwrap();
    // The script was killed and runs again: it finds out the same, and something new.
    let second = journal.begin("here", &record("scan", true, ""), 2).unwrap();
    journal.fail(second.row, 1, &failure("a", "second")).unwrap();
    let told = |journal: &mut Journal| -> Vec<(String, String)> {
        let failures = journal.failures("here", "scan").unwrap();
        failures.into_iter().map(|failure| (failure.key, failure.error.code)).collect()
    };
    let pair = |key: &str, code: &str| (key.to_owned(), code.to_owned());
    let mut both = told(&mut journal);
    both.sort();
    assert_eq!(both, [pair("a", "second"), pair("b", "first")]);
    journal.note(&[Note::Finished { row: second.row }], 3).unwrap();
    assert_eq!(told(&mut journal), [pair("a", "second")], "b is not in the submission that finished");
    let kept = journal.failures("here", "scan").unwrap().remove(0);
    assert_eq!((kept.name.as_str(), kept.parameters["I"].as_i64()), ("a for people", Some(4)));
    assert_eq!(
        (kept.error.group, kept.error.hint.as_deref()),
        (ErrorGroup::InvalidSimulation, Some("Mend it."))
    );
    assert!(journal.failures("elsewhere", "scan").unwrap().is_empty());
    journal.prune(4, 4).unwrap();
    assert_eq!(rows(&journal, "failure"), 0, "it goes with its submission");
}

#[test]
fn groups_of_errors_are_known_by_their_names() {
    for group in [ErrorGroup::ConnectionLost, ErrorGroup::InvalidSimulation, ErrorGroup::Internal] {
        assert_eq!(ErrorGroup::named(group.as_str()), Some(group));
    }
    assert_eq!(ErrorGroup::named("Tuesday"), None);
}

#[test]
fn a_journal_of_the_second_version_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    {
        let mut journal = Journal::open(&path).unwrap();
        let begun = journal.begin("here", &record("scan", true, "nonce"), 1).unwrap();
        journal.add(&[payload(begun.row, "a", 0, &[])]).unwrap();
        journal.connection.execute_batch("DROP TABLE failure; PRAGMA user_version = 2").unwrap();
    }
    let mut journal = Journal::open(&path).unwrap();
    let (found, members) = journal.find("here", "scan").unwrap().unwrap();
    assert_eq!((found.nonce.as_str(), members.len()), ("nonce", 1));
    assert!(journal.failures("here", "scan").unwrap().is_empty());
}

#[test]
fn a_journal_of_the_first_version_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    {
        let mut journal = Journal::open(&path).unwrap();
        let begun = journal.begin("here", &record("scan", true, "nonce"), 1).unwrap();
        journal.add(&[payload(begun.row, "a", 0, &[])]).unwrap();
        journal
            .connection
            .execute_batch(
                "DROP INDEX submission_unfinished; ALTER TABLE submission DROP COLUMN owner; ALTER TABLE submission DROP COLUMN program;
                 ALTER TABLE member DROP COLUMN identity; DROP TABLE failure; PRAGMA user_version = 1",
            )
            .unwrap();
    }
    let mut journal = Journal::open(&path).unwrap();
    let (found, members) = journal.find("here", "scan").unwrap().unwrap();
    assert_eq!((found.nonce.as_str(), members.len()), ("nonce", 1));
    assert_eq!(journal.standing("here", "scan").unwrap(), Some(Standing { lives: false, members: 1 }));
    let again = journal.begin("here", &record("scan", true, "other"), 2).unwrap();
    assert_eq!(again.nonce, "nonce");
}

/// Two processes at once: writers wait for one another.
#[test]
fn several_may_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    drop(Journal::open(&path).unwrap());
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut journal = Journal::open(&path).unwrap();
                let begun = journal.begin("here", &record(&format!("scan {writer}"), true, ""), 1).unwrap();
                for index in 0..20 {
                    journal.add(&[payload(begun.row, &index.to_string(), index, &[])]).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let mut journal = Journal::open(&path).unwrap();
    for writer in 0..4 {
        let (_, members) = journal.find("here", &format!("scan {writer}")).unwrap().unwrap();
        assert_eq!(members.len(), 20);
    }
}
