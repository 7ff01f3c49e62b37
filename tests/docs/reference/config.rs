//! Every table and key of the files that a user writes, with default and documentation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use syn::{Field, Fields, Item, ItemEnum, ItemStruct};

use super::source::{Source, doc, inner_type, serde_value, type_name, variant_name, words};

const HEAD: &str = "\
# Run files

Every table and key of a run file, an evaluation suite and a file of `rlaif label`, with its default. Made from the source's own
documentation; a test holds this page against it. Unknown keys are refused, and so are keys that do nothing beside others.
`--set key=value` overrides a key by its dotted path.

*absent*: may be left out, and what that means is said. *required*: must be there. *table*: a table with defaults of its own.

";

/// Files of the user: their types and titles.
const FILES: [(&str, &str, &str); 5] = [
    ("Config", "A run file", ""),
    (
        "SuiteConfig",
        "A suite",
        "The file of `rlaif eval` without a run folder.",
    ),
    (
        "LabelingConfig",
        "A file of labeling",
        "The file of `rlaif label` without a run folder.",
    ),
    (
        "Experiment",
        "An experiment",
        "A file of `rlaif experiment`.",
    ),
    (
        "ReviseConfig",
        "A file of revising",
        "The file of `rlaif revise`.",
    ),
];

/// A row of a table of keys.
struct Key {
    name: String,
    default: String,
    doc: String,
}

/// The page under work.
struct Page {
    source: Source,
    text: String,
    /// Where each type is, for its heading.
    places: BTreeMap<String, Vec<String>>,
    /// The types that are to be written.
    queue: VecDeque<String>,
    /// The heading that was written last.
    heading: String,
    /// Default of each key by its dotted path, of the first place of its table.
    defaults: BTreeMap<String, String>,
}

/// The page, and the defaults that it tells.
pub(super) fn made() -> (String, BTreeMap<String, String>) {
    let mut page = Page {
        source: Source::read(),
        text: HEAD.into(),
        places: BTreeMap::new(),
        queue: VecDeque::new(),
        heading: String::new(),
        defaults: BTreeMap::new(),
    };
    let mut written = BTreeSet::new();
    for (root, title, what) in FILES {
        page.find_places(root, "", &mut BTreeSet::new());
        writeln!(page.text, "## {title}\n").unwrap();
        if !what.is_empty() {
            writeln!(page.text, "{what}\n").unwrap();
        }
        page.queue.push_back(root.into());
        while let Some(name) = page.queue.pop_front() {
            if written.insert(name.clone()) {
                page.write(&name, root);
            }
        }
    }
    let text = page.text.trim_end().to_string() + "\n";
    (text, page.defaults)
}

pub(super) fn joined(place: &str, key: &str) -> String {
    match place {
        "" => key.into(),
        place => format!("{place}.{key}"),
    }
}

/// Where the keys of one kind of a table are.
pub(super) fn of_kind(place: &str, kind: &str) -> String {
    format!("{place}[{kind}]")
}

impl Page {
    /// Notes where the tables below `name` are.
    fn find_places(&mut self, name: &str, place: &str, above: &mut BTreeSet<String>) {
        let Some((item, _)) = self.source.types.get(name).cloned() else {
            return;
        };
        let ambiguous = self.source.ambiguous.contains(name);
        assert!(!ambiguous, "several types are called {name}");
        if !above.insert(name.into()) {
            return;
        }
        let fields: Vec<Field> = match &item {
            Item::Struct(found) => found.fields.iter().cloned().collect(),
            Item::Enum(found) => found
                .variants
                .iter()
                .flat_map(|variant| variant.fields.clone())
                .collect(),
            _ => Vec::new(),
        };
        for field in fields {
            let Some(inner) = inner_type(&field.ty).filter(|inner| self.is_table(inner)) else {
                continue;
            };
            let flat =
                field.ident.is_none() || words(&field.attrs, "serde").contains(&"flatten".into());
            let key = field
                .ident
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let list = type_name(&field.ty).is_some_and(|outer| outer == "Vec");
            let inside = match (flat, list) {
                (true, _) => place.to_string(),
                (false, true) => joined(place, &format!("{key}[]")),
                (false, false) => joined(place, &key),
            };
            let places = self.places.entry(inner.clone()).or_default();
            if !places.contains(&inside) {
                places.push(inside.clone());
            }
            self.find_places(&inner, &inside, above);
        }
        above.remove(name);
    }

    /// Whether a type is a table, or several, rather than a value.
    fn is_table(&self, name: &str) -> bool {
        match self.source.types.get(name) {
            Some((Item::Struct(_), _)) => true,
            Some((Item::Enum(found), _)) => serde_value(&found.attrs, "tag").is_some(),
            _ => false,
        }
    }

    fn write(&mut self, name: &str, root: &str) {
        let (item, file) = self.source.types[name].clone();
        let places = self.places.get(name).cloned().unwrap_or_default();
        if name != root {
            let shown: Vec<String> = places.iter().map(|place| format!("`{place}`")).collect();
            let (first, more) = shown.split_first().unwrap();
            // A table that is read in several types has one heading.
            if self.heading != *first {
                writeln!(self.text, "### {first}\n").unwrap();
                if !more.is_empty() {
                    writeln!(self.text, "Also {}.\n", more.join(", ")).unwrap();
                }
                self.heading.clone_from(first);
            }
        }
        let place = places.first().cloned().unwrap_or_default();
        match &item {
            Item::Struct(found) => self.write_struct(found, &place, file),
            Item::Enum(found) => self.write_enum(found, &place, file),
            _ => {}
        }
    }

    fn write_struct(&mut self, found: &ItemStruct, place: &str, file: usize) {
        writeln!(self.text, "{}\n", doc(&found.attrs)).unwrap();
        // A list of tables, by itself.
        if let Fields::Unnamed(fields) = &found.fields {
            self.queue_next(&fields.unnamed);
            return;
        }
        let name = found.ident.to_string();
        let whole = words(&found.attrs, "serde").contains(&"default".into());
        let read_by_hand = words(&found.attrs, "serde").contains(&"try_from".into());
        let mut keys = Vec::new();
        for field in &found.fields {
            let mut key = self.key(field, file);
            if whole {
                key.default = self.of_default(&name, field);
            } else if read_by_hand && key.default == "required" {
                key.default = "absent".into();
            }
            if !words(&field.attrs, "serde").contains(&"flatten".into()) {
                keys.push(key);
            }
        }
        self.write_keys(&keys, place);
        let flat = |field: &&Field| words(&field.attrs, "serde").contains(&"flatten".into());
        let (flat, deep): (Vec<&Field>, Vec<&Field>) = found.fields.iter().partition(flat);
        self.queue_types(deep);
        self.queue_next(flat);
    }

    fn write_enum(&mut self, found: &ItemEnum, place: &str, file: usize) {
        writeln!(self.text, "{}\n", doc(&found.attrs)).unwrap();
        let tag = serde_value(&found.attrs, "tag").unwrap_or_default();
        for variant in &found.variants {
            let kind = variant_name(found, &variant.ident.to_string());
            let default = variant
                .attrs
                .iter()
                .any(|attribute| attribute.path().is_ident("default"));
            let default = if default { " (default)" } else { "" };
            writeln!(
                self.text,
                "**`{tag} = \"{kind}\"`**{default}: {}\n",
                doc(&variant.attrs)
            )
            .unwrap();
            let place = of_kind(place, &kind);
            match &variant.fields {
                Fields::Unnamed(fields) => {
                    let inner = fields
                        .unnamed
                        .first()
                        .and_then(|field| inner_type(&field.ty));
                    let Some((Item::Struct(inner), file)) =
                        inner.and_then(|inner| self.source.types.get(&inner).cloned())
                    else {
                        continue;
                    };
                    if !inner.fields.is_empty() {
                        self.write_struct(&inner, &place, file);
                    }
                }
                fields => {
                    let keys: Vec<Key> = fields.iter().map(|field| self.key(field, file)).collect();
                    self.write_keys(&keys, &place);
                    self.queue_types(fields);
                }
            }
        }
    }

    fn write_keys(&mut self, keys: &[Key], place: &str) {
        if keys.is_empty() {
            return;
        }
        writeln!(self.text, "| key | default | |\n|---|---|---|").unwrap();
        for Key { name, default, doc } in keys {
            let shown = match default.as_str() {
                "absent" | "required" | "table" => format!("*{default}*"),
                value => format!("`{value}`"),
            };
            writeln!(self.text, "| `{name}` | {shown} | {doc} |").unwrap();
            self.defaults.insert(joined(place, name), default.clone());
        }
        self.text.push('\n');
    }

    fn queue_types<'a>(&mut self, fields: impl IntoIterator<Item = &'a Field>) {
        for field in fields {
            if let Some(inner) = inner_type(&field.ty).filter(|inner| self.is_table(inner)) {
                self.queue.push_back(inner);
            }
        }
    }

    /// The same for types whose keys stand in the table that is written now.
    fn queue_next<'a>(&mut self, fields: impl IntoIterator<Item = &'a Field>) {
        for field in fields {
            let inner = inner_type(&field.ty).filter(|inner| self.is_table(inner));
            inner
                .into_iter()
                .for_each(|inner| self.queue.push_front(inner));
        }
    }

    fn key(&self, field: &Field, file: usize) -> Key {
        let mut said = doc(&field.attrs);
        said.push_str(&self.values_of(field));
        Key {
            name: field
                .ident
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            default: self.default(field, file),
            doc: said,
        }
    }

    /// What a key with few values may be.
    fn values_of(&self, field: &Field) -> String {
        let name = inner_type(&field.ty).unwrap_or_default();
        let Some((Item::Enum(found), _)) = self.source.types.get(&name) else {
            return String::new();
        };
        if serde_value(&found.attrs, "tag").is_some()
            || words(&found.attrs, "serde").contains(&"untagged".into())
        {
            return String::new();
        }
        let value = |variant: &syn::Variant| {
            let name = variant_name(found, &variant.ident.to_string());
            format!("<br>`\"{name}\"`: {}", doc(&variant.attrs))
        };
        found.variants.iter().map(value).collect()
    }

    /// The default of a field by its own attributes.
    fn default(&self, field: &Field, file: usize) -> String {
        let outer = type_name(&field.ty).unwrap_or_default();
        let table = || inner_type(&field.ty).is_some_and(|inner| self.is_table(&inner));
        if !words(&field.attrs, "serde").contains(&"default".into()) {
            return if outer == "Option" {
                "absent"
            } else {
                "required"
            }
            .into();
        }
        let function = field.attrs.iter().find_map(function_of_default);
        let value = match function {
            Some(function) => self.source.result_of(&function, file),
            None => self.source.default_of(&outer),
        };
        value.unwrap_or_else(|| self.unread(field, table()))
    }

    /// The default of a field of a struct with `impl Default`.
    fn of_default(&self, name: &str, field: &Field) -> String {
        let key = field
            .ident
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let outer = type_name(&field.ty).unwrap_or_default();
        let table = inner_type(&field.ty).is_some_and(|inner| self.is_table(&inner));
        let value = self.source.field_of_default(name, &key);
        let value = value.or_else(|| self.source.default_of(&outer));
        value.unwrap_or_else(|| self.unread(field, table))
    }

    fn unread(&self, field: &Field, table: bool) -> String {
        let name = field
            .ident
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(
            table,
            "the default of `{name}` cannot be read off the source"
        );
        "table".into()
    }
}

/// The function in `#[serde(default = "function")]`.
fn function_of_default(attribute: &syn::Attribute) -> Option<String> {
    attribute.path().is_ident("serde").then_some(())?;
    let tokens = attribute.meta.require_list().ok()?.tokens.to_string();
    let (_, rest) = tokens.split_once("default = \"")?;
    rest.split_once('"').map(|(name, _)| name.to_string())
}

#[test]
fn run_files_are_described_as_they_are() {
    super::check("config.md", &made().0);
}
