//! Generates the messages and services of XMTP's API, without a system `protoc`.

use std::error::Error;
use std::fs;
use std::io;

const FOLDER: &str = "proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let mut files: Vec<_> = fs::read_dir(FOLDER)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, io::Error>>()?;
    files.sort();
    let descriptors = protox::compile(files, [FOLDER])?;
    tonic_prost_build::configure()
        .btree_map(".")
        .include_file("proto.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
