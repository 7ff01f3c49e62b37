//! The weights of a folder: `model.safetensors`, or the files that `model.safetensors.index.json`
//! lists. Tensors are read one at a time, as 32-bit floats.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, serialize_to_file};
use serde::Deserialize;

use crate::error::{Error, Result};

/// The file of a folder whose weights are in one.
pub(super) const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The weights of a folder, open for reading.
pub(super) struct Weights {
    /// What a fault is reported about: the file, or the index.
    pub(super) path: PathBuf,
    files: Vec<Shard>,
    tensors: BTreeMap<String, Place>,
}

struct Shard {
    path: PathBuf,
    file: File,
}

/// Where a tensor lies.
struct Place {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: u64,
    len: usize,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens the weights in `dir` and reads where each tensor lies.
    ///
    /// # Errors
    /// A file is missing, cut short or malformed; the index names a file outside `dir`, or a tensor
    /// is in two files.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let (single, index) = (dir.join(WEIGHTS), dir.join(INDEX));
        let sharded = !single.exists() && index.exists();
        let names = if sharded {
            shards(&index)?
        } else {
            BTreeSet::from([WEIGHTS.to_string()])
        };
        let mut weights = Self::empty(if sharded { index } else { single });
        for name in names {
            weights.add(dir.join(name))?;
        }
        Ok(weights)
    }

    /// Opens one file.
    ///
    /// # Errors
    /// It is missing, cut short or malformed.
    pub(super) fn open_file(path: PathBuf) -> Result<Self> {
        let mut weights = Self::empty(path.clone());
        weights.add(path)?;
        Ok(weights)
    }

    fn empty(path: PathBuf) -> Self {
        Self {
            path,
            files: Vec::new(),
            tensors: BTreeMap::new(),
        }
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let mut file = File::open(&path).map_err(Error::io("read", &path))?;
        let (start, metadata) = header(&mut file, &path)?;
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else {
                continue;
            };
            let (from, to) = info.data_offsets;
            let place = Place {
                shard: self.files.len(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                start: start + from as u64,
                len: to - from,
            };
            if self.tensors.insert(name.clone(), place).is_some() {
                let message = format!("tensor `{name}` is in another file too");
                return Err(Error::file(&path, message));
            }
        }
        self.files.push(Shard { path, file });
        Ok(())
    }

    /// Names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of a tensor, if there is one of this name.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|place| place.shape.as_slice())
    }

    /// The numbers of a tensor.
    ///
    /// # Errors
    /// There is none of this name, it does not hold floats of 16 or 32 bits, or the file cannot be
    /// read.
    pub(super) fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let missing = || Error::file(&self.path, format!("missing tensor `{name}`"));
        let place = self.tensors.get(name).ok_or_else(missing)?;
        let Shard { path, file } = &mut self.files[place.shard];
        let dtype = match place.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => {
                let message = format!("tensor `{name}` is {other:?}, expected F32, F16 or BF16");
                return Err(Error::file(path, message));
            }
        };
        let mut bytes = vec![0; place.len];
        file.seek(SeekFrom::Start(place.start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(Error::io("read", &*path))?;
        TensorData::from_bytes_vec(bytes, place.shape.clone(), dtype)
            .convert_dtype(DType::F32)
            .try_into_vec()
            .map_err(|e| Error::file(path, format!("tensor `{name}`: {e:?}")))
    }
}

/// Names of the files of an index.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(index).map_err(Error::io("read", index))?;
    let parsed: Index =
        serde_json::from_str(&text).map_err(|e| Error::file(index, e.to_string()))?;
    for name in parsed.weight_map.values() {
        let mut parts = Path::new(name).components();
        let plain = matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none();
        if !plain {
            let message = format!("names `{name}`, expected a file in the same folder");
            return Err(Error::file(index, message));
        }
    }
    Ok(parsed.weight_map.into_values().collect())
}

/// Where the numbers of a file begin, and what they are.
fn header(file: &mut File, path: &Path) -> Result<(u64, Metadata)> {
    let bad = |what: &str| Error::file(path, format!("no safetensors file: {what}"));
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    let mut n = [0; 8];
    read(file, &mut n, path)?;
    let n = u64::from_le_bytes(n);
    let start = n.checked_add(8).filter(|&start| start <= size);
    let start = start.ok_or_else(|| bad("its header does not fit into it"))?;
    let mut text = vec![0; n as usize];
    read(file, &mut text, path)?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|e| bad(&e.to_string()))?;
    let end = start + metadata.data_len() as u64;
    if end != size {
        return Err(bad(&format!("it has {size} bytes, expected {end}")));
    }
    Ok((start, metadata))
}

fn read(file: &mut File, bytes: &mut [u8], path: &Path) -> Result<()> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::file(path, "no safetensors file: it is too short"),
        _ => Error::io("read", path)(error),
    })
}

/// Writes a file of 32-bit floats: name, shape and numbers of each tensor.
///
/// # Errors
/// The file system refuses.
pub(super) fn write(path: &Path, tensors: Vec<(String, Vec<usize>, Vec<f32>)>) -> Result<()> {
    let tensors: Vec<(String, TensorData)> = (tensors.into_iter())
        .map(|(name, shape, numbers)| (name, TensorData::new(numbers, shape)))
        .collect();
    let views = tensors.iter().map(|(name, data)| {
        TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes()).map(|view| (name, view))
    });
    let views: std::result::Result<Vec<_>, _> = views.collect();
    let views = views.map_err(|e| Error::file(path, e.to_string()))?;
    // One entry: with more their order, and so the file's bytes, would vary.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    serialize_to_file(views, Some(metadata), path).map_err(|e| Error::file(path, e.to_string()))
}
