//! The methods of the file system, on a simulated disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use otelcore_pipeline::{
    DirEntry, DiskUsage, FileHandle, FileKind, FileLock, FileMetadata, FileSystem, MAX_DIR_ENTRIES,
};

use super::file::File;
use super::{Dir, DirChange, Inode, Node, Operation, SimDisk, names, system_error};

/// What a [`FileHandle`] of a simulated disk keeps.
struct HeldFile {
    inode: Inode,
    path: PathBuf,
    /// Keeps the file, also without a path.
    _open: Arc<()>,
}

fn held(handle: &FileHandle) -> io::Result<&HeldFile> {
    handle.get::<HeldFile>().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl SimDisk {
    fn metadata_of(&self, inode: Inode) -> Option<FileMetadata> {
        let (kind, length, mode, modified) = match self.nodes.get(&inode)? {
            Node::File(file) => (FileKind::File, file.content.len() as u64, file.mode, file.modified),
            Node::Dir(dir) => (FileKind::Dir, 4096, dir.mode, dir.modified),
        };
        Some(FileMetadata { kind, length, mode, modified, owner: (0, 0), identity: (0, inode) })
    }
}

impl FileSystem for SimDisk {
    fn metadata(&mut self, path: &Path) -> io::Result<FileMetadata> {
        self.begin(Operation::Read, "stat", path)?;
        let inode = self.find("stat", path)?;
        self.metadata_of(inode).ok_or_else(|| system_error("stat", path, libc::ENOENT))
    }

    fn open_file(&mut self, path: &Path) -> io::Result<FileHandle> {
        self.begin(Operation::Read, "open", path)?;
        let inode = self.find("open", path)?;
        let open = self.open_files.get(&inode).and_then(Weak::upgrade).unwrap_or_default();
        self.open_files.insert(inode, Arc::downgrade(&open));
        Ok(FileHandle::new(HeldFile { inode, path: path.to_owned(), _open: open }))
    }

    fn handle_metadata(&mut self, file: &FileHandle) -> io::Result<FileMetadata> {
        let held = held(file)?;
        self.begin(Operation::Read, "stat", &held.path)?;
        self.metadata_of(held.inode).ok_or_else(|| system_error("stat", &held.path, libc::EBADF))
    }

    fn read_handle(&mut self, file: &FileHandle, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let held = held(file)?;
        self.begin(Operation::Read, "read", &held.path)?;
        let content = match self.nodes.get(&held.inode) {
            Some(Node::File(file)) => &file.content,
            Some(Node::Dir(_)) => return Err(system_error("read", &held.path, libc::EISDIR)),
            None => return Err(system_error("read", &held.path, libc::EBADF)),
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let end = start.saturating_add(length).min(content.len());
        self.bytes_read += (end - start) as u64;
        Ok(content.get(start..end).unwrap_or_default().to_vec())
    }

    fn canonical_path(&mut self, path: &Path) -> io::Result<PathBuf> {
        self.begin(Operation::Read, "lstat", path)?;
        self.find("lstat", path)?;
        Ok(names(path).iter().fold(PathBuf::from("/"), |path, name| path.join(name)))
    }

    fn read_dir(&mut self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.begin(Operation::Read, "open", path)?;
        let inode = self.find("open", path)?;
        let Some(dir) = self.dir(inode) else { return Err(system_error("open", path, libc::ENOTDIR)) };
        if dir.entries.len() > MAX_DIR_ENTRIES {
            let text = format!("readdir {}: more than {MAX_DIR_ENTRIES} entries", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let kind = |inode: &Inode| if self.dir(*inode).is_some() { FileKind::Dir } else { FileKind::File };
        Ok(dir.entries.iter().map(|(name, inode)| DirEntry { name: name.clone(), kind: kind(inode) }).collect())
    }

    fn read_at(&mut self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.begin(Operation::Read, "open", path)?;
        let content = match self.nodes.get(&self.find("open", path)?) {
            Some(Node::File(file)) => &file.content,
            _ => return Err(system_error("read", path, libc::EISDIR)),
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let end = start.saturating_add(length).min(content.len());
        self.bytes_read += (end - start) as u64;
        Ok(content.get(start..end).unwrap_or_default().to_vec())
    }

    fn create_file(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        self.begin(Operation::Write, "open", path)?;
        let place = self.place("open", path)?;
        if self.entry(&place).is_some() {
            return Err(system_error("open", path, libc::EEXIST));
        }
        let inode = self.add_node(Node::File(File { mode, modified: self.now, ..File::default() }));
        self.change(DirChange::Add(place, inode));
        Ok(())
    }

    fn write_at(&mut self, path: &Path, offset: u64, data: &[&[u8]]) -> io::Result<()> {
        let begun = self.begin(Operation::Write, "write", path);
        if self.has_crashed || self.faults.is_read_only {
            return begun;
        }
        let (room, now) = (self.room(), self.now);
        let data = data.concat();
        let written = match &begun {
            Ok(()) => data.len(),
            Err(_) => self.random.below(data.len()),
        };
        let misdirected = self.faults.misdirected_writes;
        let is_misdirected = misdirected > 0 && begun.is_ok() && self.random.below(1000) < misdirected as usize;
        let file = self.file("open", path)?;
        let offset = usize::try_from(offset).map_err(|_| system_error("write", path, libc::EFBIG))?;
        let before = file.content.len();
        // Bytes inside the file need no room.
        let most = before.saturating_add(usize::try_from(room).unwrap_or(usize::MAX)).saturating_sub(offset);
        let fits = written.min(most);
        if is_misdirected {
            if offset + fits > before {
                file.set_len(offset + fits);
            }
            file.modified = now;
        } else if fits > 0 {
            file.write(offset, data.get(..fits).unwrap_or_default());
            file.modified = now;
        }
        let grown = file.content.len() - before;
        self.used += grown as u64;
        if is_misdirected {
            self.write_elsewhere(data.get(..fits).unwrap_or_default());
        }
        begun?;
        if fits < written { Err(system_error("write", path, libc::ENOSPC)) } else { Ok(()) }
    }

    fn set_len(&mut self, path: &Path, length: u64) -> io::Result<()> {
        self.begin(Operation::Write, "truncate", path)?;
        let (room, now) = (self.room(), self.now);
        let file = self.file("open", path)?;
        let before = file.content.len() as u64;
        if length.saturating_sub(before) > room {
            return Err(system_error("truncate", path, libc::ENOSPC));
        }
        file.set_len(usize::try_from(length).map_err(|_| system_error("truncate", path, libc::EFBIG))?);
        file.modified = now;
        self.used = self.used.saturating_sub(before).saturating_add(length);
        Ok(())
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        let begun = self.begin(Operation::Sync, "sync", path);
        if self.has_crashed {
            return begun;
        }
        let file = self.file("open", path)?;
        if begun.is_err() {
            // The system forgets what it could not write.
            file.unsynced.clear();
            return begun;
        }
        file.sync();
        Ok(())
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        self.begin(Operation::Sync, "sync", path)?;
        let inode = self.find("open", path)?;
        let (now_durable, mut later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.changes).into_iter().partition(|change| change.touches(inode));
        for change in &now_durable {
            if let DirChange::Rename(from, _, renamed) = change {
                // Where the file was before is not found any more, even if that was not durable.
                later.retain(|change| !matches!(change, DirChange::Add(at, inode) if at == from && inode == renamed));
            }
            self.make_durable(change);
        }
        self.changes = later;
        self.remove_unreachable();
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let name = format!("rename {}", from.display());
        self.begin(Operation::Write, &name, to)?;
        let (source, target) = (self.place(&name, from)?, self.place(&name, to)?);
        let Some(inode) = self.entry(&source) else { return Err(system_error(&name, to, libc::ENOENT)) };
        if source == target {
            return Ok(());
        }
        let is_dir = self.dir(inode).is_some();
        if let Some(replaced) = self.entry(&target) {
            let errno = match self.dir(replaced) {
                Some(_) if !is_dir => Some(libc::EISDIR),
                Some(dir) if !dir.entries.is_empty() => Some(libc::ENOTEMPTY),
                None if is_dir => Some(libc::ENOTDIR),
                _ => None,
            };
            if let Some(errno) = errno {
                return Err(system_error(&name, to, errno));
            }
            self.used = self.used.saturating_sub(self.length(replaced));
        }
        self.change(DirChange::Rename(source, target, inode));
        Ok(())
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.begin(Operation::Write, "remove", path)?;
        let place = self.place("remove", path)?;
        let Some(inode) = self.entry(&place) else { return Err(system_error("remove", path, libc::ENOENT)) };
        if self.dir(inode).is_some() {
            return Err(system_error("remove", path, libc::EISDIR));
        }
        self.used = self.used.saturating_sub(self.length(inode));
        self.change(DirChange::Remove(place));
        Ok(())
    }

    fn create_dir(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        self.begin(Operation::Write, "mkdir", path)?;
        if names(path).is_empty() {
            return Err(system_error("mkdir", path, libc::EEXIST));
        }
        let place = self.place("mkdir", path)?;
        if self.entry(&place).is_some() {
            return Err(system_error("mkdir", path, libc::EEXIST));
        }
        let inode = self.add_node(Node::Dir(Dir { mode, modified: self.now, ..Dir::default() }));
        self.change(DirChange::Add(place, inode));
        Ok(())
    }

    fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        self.begin(Operation::Write, "remove", path)?;
        let place = self.place("remove", path)?;
        let errno = match self.entry(&place).map(|inode| self.dir(inode)) {
            None => libc::ENOENT,
            Some(None) => libc::ENOTDIR,
            Some(Some(dir)) if !dir.entries.is_empty() => libc::ENOTEMPTY,
            Some(Some(_)) => {
                self.change(DirChange::Remove(place));
                return Ok(());
            }
        };
        Err(system_error("remove", path, errno))
    }

    fn lock_file(&mut self, path: &Path, mode: u32) -> io::Result<FileLock> {
        match self.create_file(path, mode) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            created => created?,
        }
        let inode = self.find("open", path)?;
        if self.locks.get(&inode).is_some_and(|lock| lock.strong_count() > 0) {
            return Err(system_error("lock", path, libc::EWOULDBLOCK));
        }
        let lock = Arc::new(());
        self.locks.insert(inode, Arc::downgrade(&lock));
        Ok(FileLock::new(lock))
    }

    fn free_space(&mut self, path: &Path) -> io::Result<u64> {
        self.begin(Operation::Read, "statfs", path)?;
        self.find("statfs", path)?;
        Ok(self.room())
    }

    fn disk_usage(&mut self, path: &Path) -> io::Result<DiskUsage> {
        self.begin(Operation::Read, "statfs", path)?;
        self.find("statfs", path)?;
        Ok(self.usages.get(path).copied().unwrap_or_else(|| {
            let (block_size, room) = (4096, self.room());
            let free_blocks = room / block_size;
            let blocks = free_blocks.saturating_add(self.used.div_ceil(block_size));
            DiskUsage { block_size, blocks, free_blocks, available_blocks: free_blocks, ..DiskUsage::default() }
        }))
    }

    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf> {
        self.begin(Operation::Read, "readlink", path)?;
        if let Some(target) = self.links.get(path) {
            return Ok(target.clone());
        }
        self.find("readlink", path)?;
        Err(system_error("readlink", path, libc::EINVAL))
    }
}
