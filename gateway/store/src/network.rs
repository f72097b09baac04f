//! Keys and counters of the radio networks, encrypted record by record.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError},
    },
};

use cardea_radio::{Change, NetworkStore, NetworkStoreError};
use rusqlite::Connection;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::{Error, key::Key, schema, writer::Job};

/// Name and content.
type Record = (Vec<u8>, Vec<u8>);

/// A change whose value is encrypted already.
#[derive(Debug)]
pub(crate) struct Sealed {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// One network's records.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
    database: PathBuf,
    key: Arc<Key>,
    writer: Option<SyncSender<Job>>,
}

impl Network {
    pub(crate) fn new(name: &str, database: PathBuf, key: Arc<Key>, writer: Option<SyncSender<Job>>) -> Self {
        Self { name: name.into(), database, key, writer }
    }

    /// What a value is bound to: moved elsewhere, it does not open.
    fn place(&self, key: &[u8]) -> Vec<u8> {
        [self.name.as_bytes(), &[0], key].concat()
    }

    fn read(&self) -> Result<Vec<Record>, String> {
        let connection = schema::open_reader(&self.database).map_err(|e| e.to_string())?;
        let mut statement = connection
            .prepare("SELECT key, value FROM network WHERE network = ?1 ORDER BY key")
            .map_err(|e| e.to_string())?;
        let records = statement
            .query_map([&self.name], |r| Ok((r.get::<_, Vec<u8>>(0)?, r.get::<_, Vec<u8>>(1)?)))
            .map_err(|e| e.to_string())?;
        records
            .map(|record| {
                let (key, sealed) = record.map_err(|e| e.to_string())?;
                let value = self.key.open_sealed(&self.place(&key), &sealed).ok_or_else(|| {
                    format!(
                        "a record of network `{}` does not open with the key file: restore database and key file \
                         from the same backup",
                        self.name
                    )
                })?;
                Ok((key, value))
            })
            .collect()
    }

    fn seal(&self, batch: Vec<Change>) -> Result<Vec<Sealed>, String> {
        batch
            .into_iter()
            .map(|Change { key, value }| {
                // Keys, in the clear: gone as soon as they are sealed.
                let value = value.map(Zeroizing::new);
                let value = value.map(|v| self.key.seal(&self.place(&key), &v)).transpose()?;
                Ok(Sealed { key, value })
            })
            .collect()
    }
}

impl NetworkStore for Network {
    fn load(&self) -> Result<Vec<Record>, NetworkStoreError> {
        self.read().map_err(NetworkStoreError)
    }

    fn commit(&self, batch: Vec<Change>) -> oneshot::Receiver<Result<(), NetworkStoreError>> {
        let (done, receiver) = oneshot::channel();
        let changes = match self.seal(batch) {
            Ok(changes) => changes,
            Err(why) => {
                let _ = done.send(Err(NetworkStoreError(why)));
                return receiver;
            }
        };
        let job = Job::Network { network: self.name.clone(), changes, done };
        let refused = match &self.writer {
            Some(writer) => writer.try_send(job).err(),
            None => Some(TrySendError::Disconnected(job)),
        };
        if let Some(
            TrySendError::Full(Job::Network { done, .. })
            | TrySendError::Disconnected(Job::Network { done, .. }),
        ) = refused
        {
            let _ = done.send(Err(NetworkStoreError("the store is behind or closed".into())));
        }
        receiver
    }
}

/// Makes a network's changes inside the caller's transaction.
pub(crate) fn apply(c: &Connection, network: &str, changes: &[Sealed]) -> rusqlite::Result<()> {
    for Sealed { key, value } in changes {
        match value {
            Some(value) => c
                .prepare_cached("INSERT OR REPLACE INTO network (network, key, value) VALUES (?1, ?2, ?3)")?
                .execute((network, key, value))?,
            None => c
                .prepare_cached("DELETE FROM network WHERE network = ?1 AND key = ?2")?
                .execute((network, key))?,
        };
    }
    Ok(())
}

/// Whether anything is encrypted here, so that its key is needed.
pub(crate) fn has_records(connection: &Connection, path: &Path) -> Result<bool, Error> {
    connection
        .query_row("SELECT EXISTS (SELECT 1 FROM network)", [], |r| r.get(0))
        .map_err(|e| Error::read(path, &e))
}
