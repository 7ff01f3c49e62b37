//! Fields of `parquet.thrift` that the `parquet` crate reads by their ids.

/// What a field is known to hold.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Bool,
    Byte,
    Int,
    /// An integer that the walk notes, one for each of its structures; 0 where it is absent.
    Noted,
    Double,
    Binary,
    List(&'static Kind),
    Struct(Fields),
}

/// Known fields of a structure by their ids.
pub(super) type Fields = &'static [(i16, Kind)];

use Kind::{Binary, Bool, Byte, Double, Int, List, Noted, Struct};

const EMPTY: Kind = Struct(&[]);
const ONE_OF_THREE: Kind = Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]);
const TIME: Kind = Struct(&[(1, Bool), (2, ONE_OF_THREE)]);
const LOGICAL_TYPE: Kind = Struct(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, Int), (2, Int)])),
    (6, EMPTY),
    (7, TIME),
    (8, TIME),
    (10, Struct(&[(1, Byte), (2, Bool)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Binary)])),
    (18, Struct(&[(1, Binary), (2, Int)])),
    (19, EMPTY),
]);
const SCHEMA_ELEMENT: Kind = Struct(&[
    (1, Int),
    (2, Int),
    (3, Int),
    (4, Binary),
    (5, Noted),
    (6, Int),
    (7, Int),
    (8, Int),
    (9, Int),
    (10, LOGICAL_TYPE),
]);
const STATISTICS: Kind = Struct(&[
    (1, Binary),
    (2, Binary),
    (3, Int),
    (4, Int),
    (5, Binary),
    (6, Binary),
    (7, Bool),
    (8, Bool),
    (9, Int),
]);
const BOX: Kind = Struct(&[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
]);
const COLUMN: Kind = Struct(&[
    (1, Int),
    (2, List(&Int)),
    (4, Int),
    (5, Int),
    (6, Int),
    (7, Int),
    (9, Int),
    (10, Int),
    (11, Int),
    (12, STATISTICS),
    (13, List(&Struct(&[(1, Int), (2, Int), (3, Int)]))),
    (14, Int),
    (15, Int),
    (16, Struct(&[(1, Int), (2, List(&Int)), (3, List(&Int))])),
    (17, Struct(&[(1, BOX), (2, List(&Int))])),
]);
const COLUMN_CHUNK: Kind = Struct(&[
    (1, Binary),
    (2, Int),
    (3, COLUMN),
    (4, Int),
    (5, Int),
    (6, Int),
    (7, Int),
]);
const ROW_GROUP: Kind = Struct(&[
    (1, List(&COLUMN_CHUNK)),
    (2, Int),
    (3, Int),
    (4, List(&Struct(&[(1, Int), (2, Bool), (3, Bool)]))),
    (5, Int),
    (7, Int),
]);
/// The metadata of a file.
pub(super) const FILE: Fields = &[
    (1, Int),
    (2, List(&SCHEMA_ELEMENT)),
    (3, Int),
    (4, List(&ROW_GROUP)),
    (5, List(&Struct(&[(1, Binary), (2, Binary)]))),
    (6, Binary),
    (7, List(&ONE_OF_THREE)),
];
/// The header of a page.
pub(super) const PAGE: Fields = &[
    (1, Int),
    (2, Int),
    (3, Noted),
    (4, Int),
    (5, Struct(&[(1, Int), (2, Int), (3, Int), (4, Int)])),
    (6, EMPTY),
    (7, Struct(&[(1, Int), (2, Int), (3, Bool)])),
    (
        8,
        Struct(&[
            (1, Int),
            (2, Int),
            (3, Int),
            (4, Int),
            (5, Int),
            (6, Int),
            (7, Bool),
        ]),
    ),
];
