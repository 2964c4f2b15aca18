//! Scratch: commit latency at a steady load.
#![allow(dead_code)]
#[path = "../tests/it/storage/fixture.rs"]
mod fixture;
use std::time::{Duration, Instant};
use tidings_node::storage::Storage;
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let storage = Storage::open(&args[1], fixture::NETWORK).await.unwrap();
    let (count, per, every) = (args[2].parse::<u32>().unwrap(), args[3].parse::<u32>().unwrap(), args[4].parse::<u64>().unwrap());
    let mut log = fixture::LogWriter::new(std::process::id(), 1);
    let mut x = 12345u32;
    let mut took = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_micros(every));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for _ in 0..count {
        let items: Vec<_> = (0..per).map(|_| { x = x.wrapping_mul(1664525).wrapping_add(1013904223); fixture::Item { payload_bytes: 650, ..fixture::Item::of((x >> 8) % 100_000) } }).collect();
        let set = log.write_set(&items, 1);
        tick.tick().await;
        let t = Instant::now();
        storage.write(&set).await.unwrap();
        took.push(t.elapsed());
    }
    took.sort();
    println!("p50 {:?} p90 {:?} p99 {:?} p99.9 {:?} max {:?}", took[took.len()/2], took[took.len()*9/10], took[took.len()*99/100], took[took.len()*999/1000], took.last().unwrap());
}
