//! Copies of a model that is trained, in the files of a checkpoint: of what the optimizer moves
//! alone, for the rest is that of any model of the run. Under adapters that leaves the base out.

use std::path::Path;

use burn::module::{Module, ParamGroup, ParamId};
use burn::store::{ModuleRecord, RecordError};

use crate::error::{Error, Result};

/// Writes the weights `trained` of `model` into the file `name` of `dir`; burn adds its own ending.
pub(crate) fn save_copy<M: Module>(
    model: &M,
    trained: &[ParamId],
    (dir, name): (&Path, &str),
) -> Result<()> {
    let failed = |e: RecordError| Error::file(dir, e.to_string());
    let record = (model.clone()).into_record_group(ParamGroup::from_ids(trained.to_vec()));
    record.save(dir.join(name)).map_err(failed)
}

/// Takes over what [`save_copy`] wrote into a model of the same run.
pub(crate) fn load_copy<M: Module>(model: M, (dir, name): (&Path, &str)) -> Result<M> {
    let failed = |e: RecordError| Error::file(dir, e.to_string());
    let record = ModuleRecord::load(dir.join(name)).map_err(failed)?;
    let record = record.allow_partial(true);
    model.try_load_record(record).map_err(failed)
}
