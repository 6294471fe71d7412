use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whether the logs of this process are written to a file.
static IS_FILE: AtomicBool = AtomicBool::new(false);

pub(super) fn is_file() -> bool {
    IS_FILE.load(Ordering::Relaxed)
}

/// Where records are written to: standard error, or a file.
#[derive(Debug, Default)]
pub(super) struct Output {
    file: Option<LogFile>,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    open: Mutex<File>,
}

impl Output {
    /// Appends to a file.
    pub(super) fn append(path: &Path) -> io::Result<Self> {
        let file = LogFile { path: path.to_owned(), open: Mutex::new(open(path)?) };
        IS_FILE.store(true, Ordering::Relaxed);
        Ok(Self { file: Some(file) })
    }

    /// Opens the file anew.
    pub(super) fn reopen(&self) -> io::Result<()> {
        if let Some(LogFile { path, open: current }) = &self.file {
            let new = open(path)?;
            *current.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
        Ok(())
    }

    /// Writes one record. If that fails, there is nowhere to say so.
    pub(super) fn write(&self, record: &[u8]) {
        let _ = match &self.file {
            None => io::stderr().lock().write_all(record),
            Some(file) => file.open.lock().unwrap_or_else(PoisonError::into_inner).write_all(record),
        };
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Takes the text of one record at a time.
impl Write for &Output {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        Output::write(self, record);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_was_rotated_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let [path, rotated] = ["program.log", "program.log.1"].map(|name| directory.path().join(name));
        let output = Output::append(&path).unwrap();
        output.write(b"one\n");
        fs::rename(&path, &rotated).unwrap();
        output.write(b"two\n");
        output.reopen().unwrap();
        output.write(b"three\n");
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        fs::remove_dir_all(directory.path()).unwrap();
        assert!(output.reopen().is_err());
    }
}
