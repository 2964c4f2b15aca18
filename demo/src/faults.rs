//! Bad disks and wrong clocks of single nodes, through a library that is loaded into them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

/// The library's source, which says what it reads.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/preload/faults.c");

/// The compiled library.
#[derive(Debug)]
pub(crate) struct FaultLibrary {
    library: PathBuf,
    folder: PathBuf,
}

impl FaultLibrary {
    /// Compiles the library into `folder`, where it also keeps what it reads.
    ///
    /// # Errors
    /// When there is no C compiler.
    pub(crate) fn compile(folder: &Path) -> Result<Self> {
        let library = folder.join("faults.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args([SOURCE, "-ldl"]);
        ensure!(
            compiler.status()?.success(),
            "the C compiler failed; is build-essential installed?"
        );
        Ok(Self { library, folder: folder.to_path_buf() })
    }

    /// The switches of a node, all off.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn of_node(&self, node: usize) -> Result<NodeFaults> {
        let file = |name: &str| self.folder.join(format!("{name}-{node}"));
        let faults = NodeFaults {
            library: self.library.clone(),
            fsync_fails: file("fsync-fails"),
            fsync_delay: file("fsync-delay"),
            clock_offset: file("clock-offset"),
        };
        std::fs::write(&faults.clock_offset, 0i64.to_ne_bytes())?;
        Ok(faults)
    }
}

/// The disk and the clock of one node; what is set applies at once, and after a restart.
#[derive(Debug, Clone)]
pub struct NodeFaults {
    library: PathBuf,
    fsync_fails: PathBuf,
    fsync_delay: PathBuf,
    clock_offset: PathBuf,
}

impl NodeFaults {
    /// Lets every fsync fail, or none.
    ///
    /// # Errors
    /// When the switch cannot be written.
    pub fn fail_fsync(&self, fails: bool) -> Result<()> {
        match fails {
            true => std::fs::write(&self.fsync_fails, "")?,
            false if self.fsync_fails.exists() => std::fs::remove_file(&self.fsync_fails)?,
            false => {}
        }
        Ok(())
    }

    /// Lets every fsync take so much longer, in whole milliseconds.
    ///
    /// # Errors
    /// When the switch cannot be written.
    pub fn delay_fsync(&self, delay: Duration) -> Result<()> {
        // Replaced as a whole, so that no half number is read.
        let new = self.fsync_delay.with_extension("new");
        std::fs::write(&new, delay.as_millis().to_string())?;
        Ok(std::fs::rename(new, &self.fsync_delay)?)
    }

    /// Sets the wall clock so many seconds ahead, or back when negative.
    ///
    /// # Errors
    /// When the switch cannot be written.
    pub fn skew_clock(&self, seconds: i64) -> Result<()> {
        // Written in place, because the node has the file mapped.
        let mut file = std::fs::File::options().write(true).open(&self.clock_offset)?;
        Ok(file.write_all(&seconds.to_ne_bytes())?)
    }

    /// Turns everything off.
    ///
    /// # Errors
    /// When a switch cannot be written.
    pub fn clear(&self) -> Result<()> {
        self.fail_fsync(false)?;
        self.delay_fsync(Duration::ZERO)?;
        self.skew_clock(0)
    }

    /// What makes a process read the switches.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let variable =
            |name: &str, path: &Path| (name.to_owned(), path.to_string_lossy().into_owned());
        vec![
            variable("LD_PRELOAD", &self.library),
            variable("FSYNC_FAILS_WHILE", &self.fsync_fails),
            variable("FSYNC_DELAY_MS_IN", &self.fsync_delay),
            variable("CLOCK_OFFSET_S_IN", &self.clock_offset),
        ]
    }
}
