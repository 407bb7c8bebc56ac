//! Which key of the application a key of the provider stands for: a CSV file of `api_key_id,key_id`.

use std::collections::BTreeMap;
use std::path::Path;

use uuid::Uuid;

use super::error::ImportError;

/// Keys of the application by keys of the provider. An empty one stands for usage without a key.
#[derive(Clone, Debug, Default)]
pub struct Keys(pub(super) BTreeMap<String, Uuid>);

impl Keys {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`ImportError::Keys`] with the first thing that is wrong.
    pub fn read(path: &Path) -> Result<Self, ImportError> {
        let wrong = |line: Option<u64>, reason: String| {
            let line = line.map(|line| format!("line {line} of ")).unwrap_or_default();
            ImportError::Keys(format!("{line}{}: {reason}", path.display()))
        };
        let mut reader = csv::Reader::from_path(path).map_err(|error| wrong(None, error.to_string()))?;
        let header = reader.headers().map_err(|error| wrong(None, error.to_string()))?;
        let place = |name: &str| header.iter().position(|column| column.trim() == name);
        let (Some(api_key), Some(key)) = (place("api_key_id"), place("key_id")) else {
            return Err(wrong(None, "its first line must name api_key_id and key_id".to_owned()));
        };
        let mut keys = BTreeMap::new();
        for record in reader.records() {
            let record = record.map_err(|error| wrong(error.position().map(csv::Position::line), error.to_string()))?;
            let line = record.position().map(csv::Position::line);
            let [api_key, key] = [api_key, key].map(|at| record.get(at).unwrap_or_default().trim());
            let key = Uuid::try_parse(key).map_err(|_| wrong(line, format!("{key:?} is no uuid")))?;
            if keys.insert(api_key.to_owned(), key).is_some_and(|other| other != key) {
                return Err(wrong(line, format!("{api_key:?} is there twice, with different keys")));
            }
        }
        Ok(Self(keys))
    }

    /// As `COPY` reads them.
    pub(super) fn rows(&self) -> Vec<u8> {
        let escaped =
            |text: &str| text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
        self.0.iter().flat_map(|(api_key, key)| format!("{}\t{key}\n", escaped(api_key)).into_bytes()).collect()
    }
}
