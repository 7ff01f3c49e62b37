//! The types that files of the user become, as the source has them: fields, documentation, defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::{Attribute, Expr, Fields, Item, ItemEnum, ItemStruct, Lit, Meta, Type, UnOp};

/// A file of the source.
pub(super) type File = Vec<Item>;

/// All types that are deserialised, by their names, each with the file that it is in.
pub(super) struct Source {
    pub(super) types: BTreeMap<String, (Item, usize)>,
    /// Names that several types have.
    pub(super) ambiguous: BTreeSet<String>,
    files: Vec<File>,
}

impl Source {
    pub(super) fn read() -> Self {
        let mut source = Self {
            types: BTreeMap::new(),
            ambiguous: BTreeSet::new(),
            files: Vec::new(),
        };
        source.add(Path::new("src"));
        source
    }

    fn add(&mut self, folder: &Path) {
        let entries = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = entries.collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.add(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let items = syn::parse_file(&fs::read_to_string(path).unwrap())
                    .unwrap()
                    .items;
                let file = self.files.len();
                for item in &items {
                    let (name, attrs) = match item {
                        Item::Struct(ItemStruct { ident, attrs, .. }) => (ident, attrs),
                        Item::Enum(ItemEnum { ident, attrs, .. }) => (ident, attrs),
                        _ => continue,
                    };
                    if words(attrs, "derive")
                        .iter()
                        .any(|word| word == "Deserialize")
                    {
                        let before = self.types.insert(name.to_string(), (item.clone(), file));
                        self.ambiguous.extend(before.map(|_| name.to_string()));
                    }
                }
                self.files.push(items);
            }
        }
    }

    /// What an expression of `file` comes to, in TOML's words, as far as that can be read off it.
    pub(super) fn value(&self, expression: &Expr, file: usize) -> Option<String> {
        match expression {
            Expr::Lit(literal) => Some(match &literal.lit {
                Lit::Str(text) => format!("{:?}", text.value()),
                Lit::Bool(flag) => flag.value.to_string(),
                Lit::Int(number) => number.base10_digits().into(),
                Lit::Float(number) => number.base10_digits().into(),
                _ => return None,
            }),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => {
                Some(format!("-{}", self.value(&unary.expr, file)?))
            }
            // `"text".into()`.
            Expr::MethodCall(call) => self.value(&call.receiver, file),
            Expr::Call(call) => {
                let path = path_of(&call.func)?;
                match path.as_slice() {
                    [function] => self.result_of(function, file),
                    [.., of, method] if method == "default" => self.default_of(of),
                    [.., of, method] if of == "Vec" && method == "new" => Some("[]".into()),
                    _ => None,
                }
            }
            Expr::Path(_) => match path_of(expression)?.as_slice() {
                [none] if none == "None" => Some("absent".into()),
                [constant] => self.constant(constant, file),
                [.., of, variant] => self.variant(of, variant),
                _ => None,
            },
            _ => None,
        }
    }

    /// What a function without arguments gives.
    pub(super) fn result_of(&self, name: &str, file: usize) -> Option<String> {
        // `config::default_seed` is one of another file.
        let (place, name) = name.rsplit_once("::").unwrap_or(("", name));
        let found = |file: &File| {
            file.iter().find_map(|item| match item {
                Item::Fn(function) if function.sig.ident == name => Some(function.block.clone()),
                _ => None,
            })
        };
        let (body, file) = match (found(&self.files[file]), place) {
            (Some(body), "") => (body, file),
            _ => {
                let mut all = self.files.iter().enumerate();
                all.find_map(|(i, file)| found(file).map(|body| (body, i)))?
            }
        };
        match body.stmts.last()? {
            syn::Stmt::Expr(expression, None) => self.value(expression, file),
            _ => None,
        }
    }

    /// A constant of `file`, or else of another that it is taken from.
    fn constant(&self, name: &str, file: usize) -> Option<String> {
        let others = (0..self.files.len()).filter(|other| *other != file);
        [file].into_iter().chain(others).find_map(|file| {
            self.files[file].iter().find_map(|item| match item {
                Item::Const(constant) if constant.ident == name => self.value(&constant.expr, file),
                _ => None,
            })
        })
    }

    fn variant(&self, of: &str, variant: &str) -> Option<String> {
        match &self.types.get(of)?.0 {
            Item::Enum(found) => Some(format!("{:?}", variant_name(found, variant))),
            _ => None,
        }
    }

    /// The default of a type: a variant, or what its numbers and texts start from; `None` for a table.
    pub(super) fn default_of(&self, name: &str) -> Option<String> {
        let plain = match name {
            "bool" => "false",
            "usize" | "u64" => "0",
            "f32" | "f64" => "0.0",
            "String" => "\"\"",
            "Vec" => "[]",
            "Map" | "BTreeMap" => "{}",
            "Option" => "absent",
            _ => "",
        };
        if !plain.is_empty() {
            return Some(plain.into());
        }
        let Item::Enum(found) = &self.types.get(name)?.0 else {
            return None;
        };
        let marked = found.variants.iter().find(|variant| {
            variant
                .attrs
                .iter()
                .any(|attribute| attribute.path().is_ident("default"))
        })?;
        let unit = matches!(marked.fields, Fields::Unit);
        unit.then(|| format!("{:?}", variant_name(found, &marked.ident.to_string())))
    }

    /// What `impl Default` gives a field of a struct.
    pub(super) fn field_of_default(&self, name: &str, field: &str) -> Option<String> {
        let file = self.types.get(name)?.1;
        let is_it = |found: &syn::ItemImpl| {
            let of_default = found
                .trait_
                .as_ref()
                .is_some_and(|(_, path, _)| path.is_ident("Default"));
            of_default && type_name(&found.self_ty).as_deref() == Some(name)
        };
        let body = self.files[file].iter().find_map(|item| match item {
            Item::Impl(found) if is_it(found) => found.items.first(),
            _ => None,
        })?;
        let syn::ImplItem::Fn(function) = body else {
            return None;
        };
        let syn::Stmt::Expr(Expr::Struct(made), None) = function.block.stmts.last()? else {
            return None;
        };
        let given = made.fields.iter().find(|given| match &given.member {
            syn::Member::Named(name) => name == field,
            syn::Member::Unnamed(_) => false,
        })?;
        self.value(&given.expr, file)
    }
}

fn path_of(expression: &Expr) -> Option<Vec<String>> {
    let Expr::Path(found) = expression else {
        return None;
    };
    Some(
        found
            .path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect(),
    )
}

/// Words of the attributes called `name`: `default`, `rename_all`, `snake_case`, ...
pub(super) fn words(attrs: &[Attribute], name: &str) -> Vec<String> {
    let listed = attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident(name));
    let tokens = listed.filter_map(|attribute| attribute.meta.require_list().ok());
    let text: String = tokens.map(|list| format!("{} ", list.tokens)).collect();
    let parts = text.split([' ', ',', '=', '"', '(', ')']);
    parts
        .filter(|part| !part.is_empty())
        .map(str::to_string)
        .collect()
}

/// What follows `word` among the words of the attributes `serde`.
pub(super) fn serde_value(attrs: &[Attribute], word: &str) -> Option<String> {
    let words = words(attrs, "serde");
    let at = words.iter().position(|found| found == word)?;
    words.get(at + 1).cloned()
}

/// Documentation as one line of Markdown, links into the code as code.
pub(super) fn doc(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_string()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    let text = lines.collect::<Vec<_>>().join(" ");
    without_links(text.trim()).replace('|', "\\|")
}

/// ``[`Name`](path::Name)`` and ``[`Name`]`` as `` `Name` ``.
fn without_links(text: &str) -> String {
    let Some((before, rest)) = text.split_once("[`") else {
        return text.into();
    };
    let Some((name, after)) = rest.split_once("`]") else {
        return text.into();
    };
    let after = match after
        .strip_prefix('(')
        .and_then(|target| target.split_once(')'))
    {
        Some((_, after)) => after,
        None => after,
    };
    format!("{before}`{name}`{}", without_links(after))
}

/// The last name of a path type, behind `Option`, `Box` and `Vec`.
pub(super) fn inner_type(found: &Type) -> Option<String> {
    let Type::Path(path) = found else {
        return None;
    };
    let last = path.path.segments.last()?;
    let wraps = ["Option", "Box", "Vec"]
        .iter()
        .any(|wrapper| last.ident == wrapper);
    match &last.arguments {
        syn::PathArguments::AngleBracketed(arguments) if wraps => match arguments.args.first()? {
            syn::GenericArgument::Type(inner) => inner_type(inner),
            _ => None,
        },
        _ => Some(last.ident.to_string()),
    }
}

/// The last name of a path type as it is.
pub(super) fn type_name(found: &Type) -> Option<String> {
    match found {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}

/// A variant as it stands in a file.
pub(super) fn variant_name(of: &ItemEnum, variant: &str) -> String {
    let found = of.variants.iter().find(|found| found.ident == variant);
    if let Some(name) = found.and_then(|found| serde_value(&found.attrs, "rename")) {
        return name;
    }
    match serde_value(&of.attrs, "rename_all").as_deref() {
        Some("lowercase") => variant.to_lowercase(),
        _ => snake_case(variant),
    }
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}
