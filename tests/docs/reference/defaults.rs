//! The defaults on the page of run files are those that the program takes.

use rlaif::config::Config;

use super::config::{joined, made, of_kind};

/// Dotted paths of what stands in a table, and how TOML writes it.
fn leaves(table: &toml::Table, place: &str, found: &mut Vec<(String, toml::Value)>) {
    let kind = table.get("kind").and_then(toml::Value::as_str);
    let here = kind.map_or(place.to_string(), |kind| of_kind(place, kind));
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => leaves(inner, &joined(place, key), found),
            value => found.push((joined(&here, key), value.clone())),
        }
    }
}

/// The least that a run file may say, in each of its tables.
const LEAST: &str = "
[data]
kind = \"files\"
rl_prompts = \"a\"
eval_prompts = \"a\"
[policy]
model = \"a\"
lora = {}
[sft]
batch_size = 1
[sample]
[labeler]
kind = \"local\"
model = \"a\"
[reward]
batch_size = 1
[rl]
steps = 1
batch_size = 1
algorithm = { kind = \"ppo\" }
adaptive_kl = {}
value_optim = {}
[eval]
judges = [{ kind = \"oracle\" }]
";

// What the page says a key's default is, is what the program takes when the key is left out.
#[test]
fn defaults_are_those_of_the_program() {
    let (_, told) = made();
    let config: Config = toml::from_str(LEAST).unwrap();
    let (mut resolved, mut given) = (Vec::new(), Vec::new());
    leaves(
        &config.to_toml().unwrap().parse().unwrap(),
        "",
        &mut resolved,
    );
    leaves(&LEAST.parse().unwrap(), "", &mut given);
    let mut n_checked = 0;
    for (path, value) in resolved {
        let named = given.iter().any(|(name, _)| *name == path);
        let Some(default) = told.get(&path).filter(|_| !named) else {
            continue;
        };
        let same = match &value {
            // A number of 32 bits is written with the digits of one of 64.
            toml::Value::Float(x) => default.parse::<f32>().is_ok_and(|told| told == *x as f32),
            value => *default == value.to_string(),
        };
        assert!(same, "`{path}` is {value}, the page says {default}");
        n_checked += 1;
    }
    assert!(
        n_checked >= 60,
        "{n_checked} defaults were held against the program's"
    );
}
