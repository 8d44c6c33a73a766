use super::*;

fn body(pieces: &[&'static [u8]]) -> impl Stream<Item = Result<Bytes, io::Error>> + Unpin + use<> {
    futures::stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect::<Vec<_>>())
}

#[tokio::test]
async fn parts_in_any_order_make_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::open(folder.path().join("staging"), 0).unwrap();
    let task: TaskId = "task-1".parse().unwrap();
    let upload = staging.begin(&task).unwrap();
    let second =
        staging.receive(&task, &upload, 2, body(&[b"wo", b"rld"]), Expected::default, 100).await.unwrap();
    let first = staging.receive(&task, &upload, 1, body(&[b"hello "]), Expected::default, 100).await.unwrap();
    assert!(staging.staged(&task, "file").unwrap().is_none(), "not there before it is complete");
    let chosen = [(1, first.etag.clone()), (2, second.etag.clone())];
    let manifest = staging.complete(&task, "file", &upload, &chosen, 100).unwrap();
    assert_eq!(manifest.bytes, 11);
    let again = staging.complete(&task, "file", &upload, &chosen, 100).unwrap();
    assert_eq!(again, manifest, "a repeated request answers the same");
    let mut text = String::new();
    staging.reader(&task, &manifest).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello world");

    let swapped = [(2, second.etag), (1, first.etag)];
    assert!(matches!(
        staging.complete(&task, "file", &upload, &swapped, 100),
        Err(StagingError::InvalidPartOrder)
    ));
    assert!(matches!(
        staging.complete(&task, "file", &upload, &[(3, "00".to_owned())], 100),
        Err(StagingError::InvalidPart(3))
    ));
    assert!(matches!(
        staging.complete(&task, "file", &upload, &chosen, 10),
        Err(StagingError::TooLarge { limit: 10 })
    ));
    staging.abort(&task, "file", &upload).unwrap();
    assert_eq!(staging.parts(&task, &upload).unwrap().len(), 2, "a completed upload cannot be aborted");
}

#[tokio::test]
async fn a_wrong_checksum_or_length_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::open(folder.path().join("staging"), 0).unwrap();
    let task: TaskId = "task-1".parse().unwrap();
    let upload = staging.begin(&task).unwrap();
    for (expected, what) in [
        (Expected { crc32: Some(1), ..Expected::default() }, "CRC-32"),
        (Expected { sha256: Some([0; 32]), ..Expected::default() }, "SHA-256"),
        (Expected { bytes: Some(3), ..Expected::default() }, "length"),
    ] {
        match staging.receive(&task, &upload, 1, body(&[b"x"]), || expected, 100).await {
            Err(StagingError::Mismatch { what: found }) => assert_eq!(found, what),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        staging.receive(&task, &upload, 1, body(&[b"abc"]), Expected::default, 2).await,
        Err(StagingError::TooLarge { limit: 2 })
    ));
    let broken = futures::stream::iter([Ok(Bytes::from_static(b"ab")), Err(io::Error::other("cut"))]);
    assert!(matches!(
        staging.receive(&task, &upload, 1, broken, Expected::default, 100).await,
        Err(StagingError::Body(_))
    ));
    assert!(staging.parts(&task, &upload).unwrap().is_empty());
    let left = fs::read_dir(staging.upload_folder(&task, &upload)).unwrap().count();
    assert_eq!(left, 0, "temporary files are removed");
    staging.abort(&task, "file", &upload).unwrap();
    assert!(matches!(
        staging.receive(&task, &upload, 1, body(&[b"x"]), Expected::default, 2).await,
        Err(StagingError::NoSuchUpload)
    ));
}

async fn put(staging: &Staging, task: &TaskId, content: &'static [u8]) -> (UploadId, Manifest) {
    let upload = staging.begin(task).unwrap();
    let part = staging.receive(task, &upload, 1, body(&[content]), Expected::default, 100).await.unwrap();
    let manifest = staging.complete(task, "file", &upload, &[(1, part.etag)], 100).unwrap();
    (upload, manifest)
}

fn text(staging: &Staging, task: &TaskId) -> String {
    let manifest = staging.staged(task, "file").unwrap().unwrap();
    io::read_to_string(staging.reader(task, &manifest)).unwrap()
}

#[tokio::test]
async fn a_part_that_comes_after_the_completion_does_not_harm_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::open(folder.path().join("staging"), 0).unwrap();
    let task: TaskId = "task-1".parse().unwrap();
    let (upload, _) = put(&staging, &task, b"what was acknowledged").await;
    let late = staging.receive(&task, &upload, 1, body(&[b"late"]), Expected::default, 100).await;
    assert!(matches!(late, Err(StagingError::NoSuchUpload)), "{late:?}");
    assert_eq!(text(&staging, &task), "what was acknowledged");
}

#[tokio::test]
async fn a_file_that_is_replaced_takes_no_more_room() {
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::open(folder.path().join("staging"), 0).unwrap();
    let task: TaskId = "task-1".parse().unwrap();
    let (first, _) = put(&staging, &task, b"first").await;
    let (second, _) = put(&staging, &task, b"second").await;
    assert_eq!(text(&staging, &task), "second");
    assert!(!staging.upload_folder(&task, &first).exists());
    assert!(staging.upload_folder(&task, &second).exists());
}

#[tokio::test]
async fn a_body_that_would_eat_into_the_reserve_is_cut_off_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::open(folder.path().join("staging"), u64::MAX / 2).unwrap();
    let task: TaskId = "task-1".parse().unwrap();
    let upload = staging.begin(&task).unwrap();
    let received = staging.receive(&task, &upload, 1, body(&[b"x"]), Expected::default, 100).await;
    assert!(matches!(received, Err(StagingError::NoRoom)), "{received:?}");
    assert_eq!(fs::read_dir(staging.upload_folder(&task, &upload)).unwrap().count(), 0);
    let file = tempfile::tempfile().unwrap();
    let mut output = crate::disk::RoomyWriter::new(&file, folder.path(), u64::MAX / 2);
    assert!(is_disk_full(&output.write_all(b"x").unwrap_err()));
    crate::disk::RoomyWriter::new(&file, folder.path(), 0).write_all(&[0; 100]).unwrap();
}
