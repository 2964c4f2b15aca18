//! Scratch: how fast is storage.
#[path = "../tests/it/storage/fixture.rs"]
mod fixture;
use std::sync::Arc;
use std::time::Instant;
use tidings_node::storage::{Storage, Writer};
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (url, total, per, topics) = (&args[1], args[2].parse::<u32>().unwrap(), args[3].parse::<u32>().unwrap(), args[4].parse::<u32>().unwrap());
    let storage = Arc::new(Storage::open(url, fixture::NETWORK).await.unwrap());
    let mut log = fixture::LogWriter::new(1, 1);
    let mut x = 12345u32;
    let sets: Vec<_> = (0..total / per).map(|_| {
        let items: Vec<_> = (0..per).map(|_| { x = x.wrapping_mul(1664525).wrapping_add(1013904223); fixture::Item { payload_bytes: 650, ..fixture::Item::of((x >> 8) % topics) } }).collect();
        log.write_set(&items, 1)
    }).collect();
    let writer = Writer::start(Arc::clone(&storage));
    let cpu0 = std::fs::read_to_string("/proc/self/stat").unwrap();
    let start = Instant::now();
    let mut pending = std::collections::VecDeque::new();
    let mut worst = std::time::Duration::ZERO;
    for set in sets {
        let t = Instant::now();
        pending.push_back((t, writer.submit(set).await.unwrap()));
        if pending.len() > 8 { let (t, p) = pending.pop_front().unwrap(); p.durable().await.unwrap(); worst = worst.max(t.elapsed()); }
    }
    for (_, p) in pending { p.durable().await.unwrap(); }
    let took = start.elapsed();
    let cpu1 = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = |s: &str| { let f: Vec<_> = s.split(' ').collect(); f[13].parse::<u64>().unwrap() + f[14].parse::<u64>().unwrap() };
    println!("{} entries in {:?}: {:.0}/s; cpu {} ms; worst wait {worst:?}", total, took, f64::from(total) / took.as_secs_f64(), (ticks(&cpu1) - ticks(&cpu0)) * 10);
    drop(log);
    let t = Instant::now();
    let restored = storage.load().await.unwrap();
    println!("load {:?}, topics {}", t.elapsed(), restored.logs.values().map(|l| l.topics.len()).sum::<usize>());
    let (id, _) = restored.logs.into_iter().next().unwrap();
    let t = Instant::now(); let mut from = tidings_types::LogIndex(0); let mut n = 0;
    while let Some(f) = storage.flushes(id, from, 8192, 8 << 20).await.unwrap() { from = f.checkpoint.checkpoint.size.next_index(); n += f.entries.len(); }
    println!("flushes: {n} in {:?}", t.elapsed());
    let t = Instant::now(); let hashes = storage.leaf_hashes(id, tidings_types::LogIndex(0), from).await.unwrap();
    println!("leaf hashes: {} in {:?}", hashes.len(), t.elapsed());
    let t = Instant::now();
    for n in 0..200 { storage.topic_page(fixture::topic(n % topics), &Default::default(), 100, 1 << 20).await.unwrap(); }
    println!("topic page: {:?} each", t.elapsed() / 200);
    let t = Instant::now();
    println!("recent: {} in {:?}", storage.recent(tidings_types::NodeId(1), tidings_types::Period(0)).await.unwrap().len(), t.elapsed());
    let t = Instant::now();
    println!("prune: {:?} in {:?}", storage.prune(tidings_types::TimestampSeconds(u64::MAX)).await.unwrap(), t.elapsed());
}
