//! The weights of a folder: `model.safetensors`, or the files that `model.safetensors.index.json`
//! lists; where there are neither, `pytorch_model.bin` or those of its index. Tensors are read one
//! at a time, as 32-bit floats, and written in the format that each is in.

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
/// Which file of several each tensor is in.
pub(super) const INDEX: &str = "model.safetensors.index.json";
const PICKLED: &str = "pytorch_model.bin";
const PICKLED_INDEX: &str = "pytorch_model.bin.index.json";

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
    /// `None`: a type that no model here is made of.
    dtype: Option<DType>,
    shape: Vec<usize>,
    bytes: Bytes,
}

/// How the bytes of a tensor are come by.
enum Bytes {
    /// So many of them from a place in the file.
    At { start: u64, len: usize },
    /// From a tensor of a pickle.
    #[cfg(feature = "pytorch")]
    Pickled(pytorch_reader::Tensor),
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
        let found = [
            (WEIGHTS, None),
            (WEIGHTS, Some(INDEX)),
            (PICKLED, None),
            (PICKLED, Some(PICKLED_INDEX)),
        ];
        let exists =
            |(single, index): &(&str, Option<&str>)| dir.join(index.unwrap_or(single)).exists();
        let (single, index) = found.into_iter().find(exists).unwrap_or((WEIGHTS, None));
        let path = dir.join(index.unwrap_or(single));
        let names = match index {
            Some(_) => shards(&path)?,
            None => BTreeSet::from([single.to_string()]),
        };
        let mut weights = Self::empty(path);
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
        let shard = self.files.len();
        let places = match path.extension() {
            Some(extension) if extension == "bin" => pickled(&path, shard)?,
            _ => places(&mut file, &path, shard)?,
        };
        for (name, place) in places {
            if self.tensors.contains_key(&name) {
                let message = format!("tensor `{name}` is in another file too");
                return Err(Error::file(&path, message));
            }
            self.tensors.insert(name, place);
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
        let dtype = place.dtype.ok_or_else(|| {
            let message = format!("tensor `{name}` holds no floats of 16 or 32 bits");
            Error::file(&*path, message)
        })?;
        let bytes = match &place.bytes {
            Bytes::At { start, len } => {
                let mut bytes = vec![0; *len];
                let read = file.seek(SeekFrom::Start(*start));
                read.and_then(|_| file.read_exact(&mut bytes))
                    .map(|()| bytes)
            }
            #[cfg(feature = "pytorch")]
            Bytes::Pickled(tensor) => tensor.read(),
        };
        let bytes = bytes.map_err(Error::io("read", &*path))?;
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

/// The tensors of a safetensors file.
fn places(file: &mut File, path: &Path, shard: usize) -> Result<Vec<(String, Place)>> {
    let (start, metadata) = header(file, path)?;
    let place = |name: String| {
        let info = metadata.info(&name)?;
        let (from, to) = info.data_offsets;
        let place = Place {
            shard,
            dtype: match info.dtype {
                Dtype::F32 => Some(DType::F32),
                Dtype::F16 => Some(DType::F16),
                Dtype::BF16 => Some(DType::BF16),
                _ => None,
            },
            shape: info.shape.clone(),
            bytes: Bytes::At {
                start: start + from as u64,
                len: to - from,
            },
        };
        Some((name, place))
    };
    Ok(metadata
        .offset_keys()
        .into_iter()
        .filter_map(place)
        .collect())
}

/// The tensors of a file that `torch.save` has written. Whatever else its pickle would do is not
/// done: the reader knows tensors and plain values, and refuses the rest.
#[cfg(feature = "pytorch")]
fn pickled(path: &Path, shard: usize) -> Result<Vec<(String, Place)>> {
    let bad = |e: pytorch_reader::PytorchError| Error::file(path, e.to_string());
    let read = pytorch_reader::PytorchReader::new(path).map_err(bad)?;
    let place = |(name, tensor): (String, pytorch_reader::Tensor)| {
        let place = Place {
            shard,
            dtype: match tensor.dtype() {
                pytorch_reader::DType::F32 => Some(DType::F32),
                pytorch_reader::DType::F16 => Some(DType::F16),
                pytorch_reader::DType::BF16 => Some(DType::BF16),
                _ => None,
            },
            shape: tensor.shape().to_vec(),
            bytes: Bytes::Pickled(tensor),
        };
        (name, place)
    };
    Ok(read.into_tensors().into_iter().map(place).collect())
}

#[cfg(not(feature = "pytorch"))]
fn pickled(path: &Path, _shard: usize) -> Result<Vec<(String, Place)>> {
    let message =
        "is a pickle; rebuild with `--features pytorch`, or save the model as safetensors";
    Err(Error::file(path, message))
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

/// Writes a file of floats of 16 or 32 bits: name and numbers of each tensor.
///
/// # Errors
/// The file system refuses.
pub(super) fn write(path: &Path, tensors: &[(String, TensorData)]) -> Result<()> {
    let views = tensors.iter().map(|(name, data)| {
        let dtype = match data.dtype() {
            DType::BF16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            _ => Dtype::F32,
        };
        TensorView::new(dtype, data.shape().to_vec(), data.as_bytes()).map(|view| (name, view))
    });
    let views: std::result::Result<Vec<_>, _> = views.collect();
    let views = views.map_err(|e| Error::file(path, e.to_string()))?;
    // One entry: with more their order, and so the file's bytes, would vary.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    serialize_to_file(views, Some(metadata), path).map_err(|e| Error::file(path, e.to_string()))
}
