//! The index as its writer and its readers see it, in a real file.

use tempfile::TempDir;
use tidings_envelope::LogId;
use tidings_types::{Height, Incarnation, LogIndex, NodeId, ShardId};

use super::*;
use crate::inbox::digest;
use crate::topic::{Kind, XmtpTopic};

struct Subject {
    folder: TempDir,
    writer: Writer,
    reader: Reader,
    next: u64,
}

fn group(number: u8) -> XmtpTopic {
    XmtpTopic::new(Kind::Group, &[number; 16]).unwrap()
}

fn log(node: u32) -> LogId {
    LogId { node: NodeId(node), shard: ShardId(0), incarnation: Incarnation(1) }
}

fn entry(topic: &XmtpTopic, originator: u32, sequence: u64, received_ns: u64) -> Entry {
    let envelope = format!("{originator} {sequence}").into_bytes();
    Entry {
        topic: topic.clone(),
        mark: Mark { originator, sequence },
        received_ns,
        expires_s: 1_000,
        digest: digest(&envelope),
        envelope,
        identifiers: Vec::new(),
    }
}

impl Subject {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Index { writer, reader, .. } = open(&folder.path().join("index.db")).await.unwrap();
        Self { folder, writer, reader, next: 0 }
    }

    async fn enter(&mut self, entries: Vec<Entry>) -> Vec<Stored> {
        self.next += 1;
        let reached = Reached::Log(log(1), LogIndex(self.next));
        self.writer.enter(entries, reached).await.unwrap()
    }

    /// The sequence numbers of what the topics hold after the cursor.
    async fn after(&self, topics: &[XmtpTopic], cursor: &[(u32, u64)], limit: usize) -> Vec<u64> {
        let cursor = cursor.iter().copied().collect();
        let found = self.reader.after(topics, &cursor, limit, usize::MAX).await.unwrap();
        found.iter().map(|stored| stored.mark.sequence).collect()
    }

    async fn newest(&self, topic: &XmtpTopic) -> Option<u64> {
        self.reader.newest(topic).await.unwrap().map(|stored| stored.mark.sequence)
    }
}

#[tokio::test]
async fn topics_are_read_in_the_order_of_arrival_after_a_cursor() {
    let mut subject = Subject::new().await;
    let (one, two) = (group(1), group(2));
    subject.enter(vec![entry(&one, 16, 5, 10), entry(&two, 16, 6, 11)]).await;
    subject
        .enter(vec![entry(&one, 0, 1, 12), entry(&one, 17, 2, 13), entry(&one, 16, 7, 14)])
        .await;
    let topics = std::slice::from_ref(&one);
    assert_eq!(subject.after(topics, &[], 10).await, [5, 1, 2, 7]);
    assert_eq!(subject.after(topics, &[(16, 5)], 10).await, [1, 2, 7]);
    assert_eq!(subject.after(topics, &[(16, 7), (0, 1)], 10).await, [2]);
    assert_eq!(subject.after(topics, &[], 2).await, [5, 1]);
    assert_eq!(subject.after(&[one.clone(), two.clone()], &[(17, 2)], 10).await, [5, 6, 1, 7]);
    let page = subject.reader.after(topics, &Cursor::new(), 10, 1).await.unwrap();
    assert_eq!(page.len(), 1, "one envelope always fits");
    assert_eq!(subject.newest(&one).await, Some(7));
    assert_eq!(subject.newest(&two).await, Some(6));
    assert_eq!(subject.newest(&group(3)).await, None);
    let repeated = subject.reader.repeated(&one, &digest(b"0 1")).await.unwrap().unwrap();
    assert_eq!(repeated.mark, Mark { originator: 0, sequence: 1 });
    assert_eq!(subject.reader.repeated(&two, &digest(b"0 1")).await.unwrap(), None);
    assert!(subject.reader.at(&one, Mark { originator: 17, sequence: 2 }).await.unwrap().is_some());
    assert_eq!(subject.reader.at(&one, Mark { originator: 17, sequence: 1 }).await.unwrap(), None);
}

#[tokio::test]
async fn times_rise_with_an_originators_sequence() {
    // covers: XMTP-008
    let mut subject = Subject::new().await;
    let topic = group(1);
    let entered = vec![
        entry(&topic, 0, 1, 100),
        entry(&topic, 0, 2, 90),
        entry(&topic, 16, 1, 90),
        entry(&group(2), 0, 3, 80),
    ];
    let stored = subject.enter(entered).await;
    let times: Vec<_> = stored.iter().map(|stored| stored.sent_ns).collect();
    assert_eq!(times, [100, 101, 90, 80]);
    let again = subject.enter(vec![entry(&topic, 0, 9, 101)]).await;
    assert_eq!(again[0].sent_ns, 102);
}

#[tokio::test]
async fn what_was_caught_up_with_is_put_in_order() {
    let mut subject = Subject::new().await;
    let topic = group(1);
    subject.enter(vec![entry(&topic, 16, 1, 10)]).await;
    let since = subject.writer.last_arrival();
    // One log after the other, the second with an edge whose clock was off.
    subject.enter(vec![entry(&topic, 16, 2, 20), entry(&topic, 16, 3, 50)]).await;
    subject.enter(vec![entry(&topic, 17, 4, 30), entry(&topic, 17, 5, 25)]).await;
    subject.writer.settle(since).await.unwrap();
    assert_eq!(subject.after(std::slice::from_ref(&topic), &[], 10).await, [1, 2, 4, 5, 3]);
    assert_eq!(subject.newest(&topic).await, Some(3));
    subject.enter(vec![entry(&topic, 17, 6, 1)]).await;
    assert_eq!(subject.newest(&topic).await, Some(6));
}

#[tokio::test]
async fn the_newest_key_package_is_the_latest_whatever_log_it_is_in() {
    let mut subject = Subject::new().await;
    let topic = XmtpTopic::new(Kind::KeyPackage, &[1; 32]).unwrap();
    subject.enter(vec![entry(&topic, 16, 1, 50)]).await;
    subject.enter(vec![entry(&topic, 17, 2, 20)]).await;
    assert_eq!(subject.newest(&topic).await, Some(1));
    subject.writer.settle(0).await.unwrap();
    assert_eq!(subject.newest(&topic).await, Some(1));
}

#[tokio::test]
async fn identifiers_lead_to_the_inbox_that_they_joined_last() {
    let mut subject = Subject::new().await;
    let topic = XmtpTopic::new(Kind::Identity, &[1; 32]).unwrap();
    let change = |inbox: u8, belongs| IdentifierChange {
        kind: 1,
        identifier: "0xabc".into(),
        inbox: vec![inbox],
        belongs,
    };
    let mut sequence = 0;
    for (changes, expected) in [
        (vec![change(1, true)], Some(vec![1])),
        (vec![change(2, true)], Some(vec![2])),
        (vec![change(2, false)], Some(vec![1])),
        (vec![change(1, false), change(1, true)], Some(vec![1])),
        (vec![change(1, false)], None),
    ] {
        sequence += 1;
        let mut update = entry(&topic, 1, sequence, 1);
        update.identifiers = changes;
        subject.enter(vec![update]).await;
        assert_eq!(subject.reader.inbox_of(1, "0xabc").await.unwrap(), expected);
        assert_eq!(subject.reader.inbox_of(2, "0xabc").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_restart_goes_on_where_the_index_ends() {
    let mut subject = Subject::new().await;
    subject.enter(vec![entry(&group(1), 16, 1, 1)]).await;
    let lane = Reached::Lane(ShardId(3), Height(9));
    subject.writer.enter(vec![entry(&group(1), 0, 1, 1)], lane).await.unwrap();
    let Subject { folder, writer, reader, .. } = subject;
    let (before, last) = (writer.progress().clone(), writer.last_arrival());
    drop((writer, reader));
    let Index { writer, .. } = open(&folder.path().join("index.db")).await.unwrap();
    assert_eq!((writer.progress(), writer.last_arrival()), (&before, last));
    assert_eq!(before.lanes.get(&ShardId(3)), Some(&Height(9)));
    assert_eq!(before.logs.get(&log(1)), Some(&LogIndex(1)));
}

#[tokio::test]
async fn messages_are_forgotten_in_time_and_commits_are_not() {
    let mut subject = Subject::new().await;
    let identity = XmtpTopic::new(Kind::Identity, &[1; 32]).unwrap();
    let topic = group(1);
    subject.enter(vec![entry(&topic, 16, 1, 1), entry(&topic, 0, 2, 1)]).await;
    subject.enter(vec![entry(&identity, 1, 3, 1), entry(&topic, 16, 4, 1)]).await;
    assert_eq!(subject.writer.prune(1_000, 10).await.unwrap(), 0);
    assert_eq!(subject.writer.prune(1_001, 1).await.unwrap(), 1);
    assert_eq!(subject.writer.prune(1_001, 10).await.unwrap(), 1);
    assert_eq!(subject.after(std::slice::from_ref(&topic), &[], 10).await, [2]);
    assert_eq!(subject.after(&[identity], &[], 10).await, [3]);
    assert_eq!(subject.newest(&topic).await, None);
}
