//! `node.toml`: who this broker is, for as long as its data directory lives.

use super::error::DataDirError;
use crate::base::hash::HomeKey;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The format of the data directory that this program writes, and the newest that it reads.
/// 1 had no journals.
pub const FORMAT: u32 = 2;

/// What `node.toml` holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Names this broker among others; drawn once.
    pub id: [u8; 16],
    /// Decides which shard owns what; secret, so that nobody outside can aim at one shard.
    pub home_key: HomeKey,
    /// Whose journals are stored; with another one, what is stored has to move to its new homes.
    pub shard_count: u16,
    secret: [u8; 16],
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    id: String,
    home_key: String,
    shard_count: u16,
}

/// Of a file that may be of a later format, only this much is certain.
#[derive(Deserialize)]
struct AnyFile {
    format: u32,
}

impl Identity {
    #[must_use]
    pub const fn new(id: [u8; 16], secret: [u8; 16], shard_count: u16) -> Self {
        Self {
            id,
            home_key: HomeKey::new(secret),
            shard_count,
            secret,
        }
    }

    /// The same broker with another number of shards.
    #[must_use]
    pub const fn with_shard_count(&self, shard_count: u16) -> Self {
        Self::new(self.id, self.secret, shard_count)
    }

    /// The text of `node.toml`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let file = File {
            format: FORMAT,
            id: hex(&self.id),
            home_key: hex(&self.secret),
            shard_count: self.shard_count,
        };
        let values = toml::to_string(&file).unwrap_or_default();
        format!(
            "# Written by Ringway. Keep it secret, and keep it with the data beside it.\n{values}"
        )
    }

    /// Reads the text of `node.toml` and its format; `path` is for the error.
    pub fn from_text(text: &str, path: &Path) -> Result<(Self, u32), DataDirError> {
        let damaged = |what: &str| DataDirError::Damaged {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        let refused = |error: toml::de::Error| damaged(error.message());
        let AnyFile { format } = toml::from_str(text).map_err(refused)?;
        if format > FORMAT {
            return Err(DataDirError::NewerFormat {
                path: path.to_owned(),
                format,
            });
        }
        if format == 0 {
            return Err(damaged("format is 0"));
        }
        let file: File = toml::from_str(text).map_err(refused)?;
        let id = bytes(&file.id).ok_or_else(|| damaged("id is not 32 hexadecimal digits"))?;
        let secret = bytes(&file.home_key)
            .ok_or_else(|| damaged("home_key is not 32 hexadecimal digits"))?;
        if file.shard_count == 0 {
            return Err(damaged("shard_count is 0"));
        }
        let identity = Self::new(id, secret, file.shard_count);
        Ok((identity, format))
    }
}

impl std::fmt::Debug for Identity {
    /// The secret stays out of logs.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "Identity({}, {} shards)",
            hex(&self.id),
            self.shard_count
        )
    }
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8; 16]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)])
        .collect()
}

fn bytes(hex: &str) -> Option<[u8; 16]> {
    let digits = hex.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
    }
    Some(bytes)
}
