//! Metrics as TensorBoard event files, beside `metrics.jsonl`.
//!
//! A file is a sequence of records: length, its checksum, the event as protocol buffer, its
//! checksum (TensorFlow's `record_writer.h`, `event.proto` and `summary.proto`; only the fields
//! that scalars need).

use std::fs::{File, create_dir_all};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::error::{Error, Result};

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

/// `Summary.Value` with a `simple_value`.
#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1 is `START`: events of this step and later ones in older files no longer count.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An open event file.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Starts a new file in `folder`, for steps from `first_step` on.
    pub(super) fn create(folder: &Path, first_step: usize) -> Result<Self> {
        create_dir_all(folder).map_err(Error::io("create", folder))?;
        // Readers take files in the order of their names.
        let path = folder.join(format!("events.out.tfevents.{:.6}", now()));
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        let mut events = Self { path, file };
        events.append(&Event {
            wall_time: now(),
            file_version: Some("brain.Event:2".into()),
            ..Event::default()
        })?;
        events.append(&Event {
            wall_time: now(),
            step: first_step as i64,
            session_log: Some(SessionLog { status: 1 }),
            ..Event::default()
        })?;
        Ok(events)
    }

    /// Appends the finite ones of `values` for a step.
    pub(super) fn write(&mut self, step: usize, values: &[(&str, f64)]) -> Result<()> {
        let finite = values.iter().filter(|(_, value)| value.is_finite());
        let scalar = |&(name, value): &(&str, f64)| Scalar {
            tag: name.into(),
            simple_value: value as f32,
        };
        self.append(&Event {
            wall_time: now(),
            step: step as i64,
            summary: Some(Summary {
                value: finite.map(scalar).collect(),
            }),
            ..Event::default()
        })
    }

    fn append(&mut self, event: &Event) -> Result<()> {
        let record = record(&event.encode_to_vec());
        (self.file.write_all(&record)).map_err(Error::io("write", &self.path))
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let parts: [&[u8]; 4] = [&length, &masked(&length), data, &masked(data)];
    parts.concat()
}

/// Checksum as TensorFlow stores it, so that the checksum of a checksum is no degenerate case.
fn masked(data: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(data);
    (crc.rotate_right(15).wrapping_add(0xa282_ead8)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `tensorboard` 2.21.0: `RecordWriter` over an `Event` with `wall_time=1.5`,
    /// `step=3` and the scalar `loss=0.25`.
    #[test]
    fn a_record_is_what_tensorboard_writes() {
        let event = Event {
            wall_time: 1.5,
            step: 3,
            summary: Some(Summary {
                value: vec![Scalar {
                    tag: "loss".into(),
                    simple_value: 0.25,
                }],
            }),
            ..Event::default()
        };
        let expected = concat!(
            "1a00000000000000129bd82d",
            "09000000000000f83f10032a0d0a0b0a046c6f7373150000803e",
            "d054b255",
        );
        let found = record(&event.encode_to_vec());
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected);
    }
}
