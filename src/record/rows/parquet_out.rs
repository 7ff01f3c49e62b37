//! Rows as Parquet, in row groups of bounded size.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value};

use super::columns::{Columns, Kind};
use crate::error::{Error, Result};

/// Rows of a row group, which are held while it is written.
const GROUP_ROWS: usize = 1_000;

type Rows<'a> = &'a mut dyn Iterator<Item = Result<Map<String, Value>>>;
type Written<T = ()> = std::result::Result<T, ParquetError>;

/// Writes all rows.
pub(super) fn write<W: Write + Send>(
    path: &Path,
    out: W,
    columns: &Columns,
    rows: Rows,
) -> Result<()> {
    let failed = |e: ParquetError| Error::file(path, format!("cannot write Parquet: {e}"));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let schema = schema(columns).map_err(failed)?;
    let mut writer =
        SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(failed)?;
    loop {
        let group: Vec<_> = rows.take(GROUP_ROWS).collect::<Result<_>>()?;
        if group.is_empty() {
            break;
        }
        let mut row_group = writer.next_row_group().map_err(failed)?;
        for (name, kind) in columns.iter() {
            let cells: Vec<Option<&Value>> = group
                .iter()
                .map(|row| row.get(name).filter(|value| !value.is_null()))
                .collect();
            write_column(&mut row_group, kind, &cells).map_err(failed)?;
        }
        row_group.close().map_err(failed)?;
    }
    writer.close().map(|_| ()).map_err(failed)
}

fn schema(columns: &Columns) -> Written<TypePtr> {
    let fields = columns.iter().map(|(name, kind)| match kind {
        Kind::Text | Kind::Json => text(name),
        Kind::Integer => primitive(name, Physical::INT64),
        Kind::Number => primitive(name, Physical::DOUBLE),
        Kind::Bool => primitive(name, Physical::BOOLEAN),
        Kind::Messages(fields) => messages(name, fields),
    });
    let fields = fields.collect::<Written<_>>()?;
    Ok(Arc::new(
        Type::group_type_builder("schema")
            .with_fields(fields)
            .build()?,
    ))
}

fn text(name: &str) -> Written<TypePtr> {
    let text = Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
        .with_repetition(Repetition::OPTIONAL)
        .with_converted_type(ConvertedType::UTF8)
        .with_logical_type(Some(LogicalType::String));
    text.build().map(Arc::new)
}

fn primitive(name: &str, physical: Physical) -> Written<TypePtr> {
    let builder = Type::primitive_type_builder(name, physical);
    builder
        .with_repetition(Repetition::OPTIONAL)
        .build()
        .map(Arc::new)
}

/// The three levels of a list: the column, `list`, `element`.
fn messages(name: &str, fields: &[String]) -> Written<TypePtr> {
    let fields = fields
        .iter()
        .map(|field| text(field))
        .collect::<Written<_>>()?;
    let element = Type::group_type_builder("element")
        .with_repetition(Repetition::OPTIONAL)
        .with_fields(fields)
        .build()?;
    let list = Type::group_type_builder("list")
        .with_repetition(Repetition::REPEATED)
        .with_fields(vec![Arc::new(element)])
        .build()?;
    let column = Type::group_type_builder(name)
        .with_repetition(Repetition::OPTIONAL)
        .with_converted_type(ConvertedType::LIST)
        .with_logical_type(Some(LogicalType::List))
        .with_fields(vec![Arc::new(list)])
        .build()?;
    Ok(Arc::new(column))
}

fn write_column<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    kind: &Kind,
    cells: &[Option<&Value>],
) -> Written {
    match kind {
        Kind::Text | Kind::Json => write_leaf::<ByteArrayType, W>(group, cells, bytes),
        Kind::Integer => write_leaf::<Int64Type, W>(group, cells, |v| v.as_i64().unwrap_or(0)),
        Kind::Number => {
            write_leaf::<DoubleType, W>(group, cells, |v| v.as_f64().unwrap_or(f64::NAN))
        }
        Kind::Bool => write_leaf::<BoolType, W>(group, cells, |v| *v == Value::Bool(true)),
        Kind::Messages(fields) => {
            let mut fields = fields.iter();
            fields.try_for_each(|field| write_field(group, field, cells))
        }
    }
}

fn bytes(value: &Value) -> ByteArray {
    match value {
        Value::String(text) => text.as_str().into(),
        value => value.to_string().as_str().into(),
    }
}

fn write_leaf<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    cells: &[Option<&Value>],
    value: impl Fn(&Value) -> T::T,
) -> Written {
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values: Vec<T::T> = cells.iter().flatten().map(|cell| value(cell)).collect();
    put::<T, W>(group, &values, &levels, None)
}

/// One field of all messages. How deep it is defined: 0 no list, 1 an empty list, 3 a message
/// without the field, 4 with it. A message begins a row at repetition level 0, goes on at 1.
fn write_field<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    field: &str,
    cells: &[Option<&Value>],
) -> Written {
    let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    for cell in cells {
        let messages = cell.and_then(Value::as_array);
        let messages = messages.map_or(&[][..], Vec::as_slice);
        if messages.is_empty() {
            defined.push(i16::from(cell.is_some()));
            repeated.push(0);
        }
        for (i, message) in messages.iter().enumerate() {
            repeated.push(i16::from(i > 0));
            let text = message.get(field).filter(|text| !text.is_null());
            defined.push(if text.is_some() { 4 } else { 3 });
            values.extend(text.map(bytes));
        }
    }
    put::<ByteArrayType, W>(group, &values, &defined, Some(&repeated))
}

fn put<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    defined: &[i16],
    repeated: Option<&[i16]>,
) -> Written {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| ParquetError::General("a column too many".into()))?;
    column
        .typed::<T>()
        .write_batch(values, Some(defined), repeated)?;
    column.close()
}
