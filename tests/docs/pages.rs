//! README and the pages of the book, as their blocks, links, headings and words in code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use markdown::ParseOptions;
use markdown::mdast::Node;

/// Where the pages of the book are.
pub(crate) const BOOK: &str = "docs/src";

/// A Markdown file, read.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Path from the root of the repository.
    pub(crate) path: PathBuf,
    /// Fenced blocks, in order.
    pub(crate) blocks: Vec<Block>,
    /// Where links and pictures lead, with their lines.
    pub(crate) links: Vec<(usize, String)>,
    /// What a link to a heading of this page names behind `#`.
    pub(crate) anchors: BTreeSet<String>,
    /// Words set as code, with their lines.
    pub(crate) words: Vec<(usize, String)>,
}

/// A fenced block.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// Line of its fence.
    pub(crate) line: usize,
    /// What it is, and what else is said of it: the words behind the fence, split at commas.
    pub(crate) tags: Vec<String>,
    /// Its lines.
    pub(crate) text: String,
}

impl Block {
    /// What it is: `toml`, `sh`, ...
    pub(crate) fn kind(&self) -> &str {
        self.tags.first().map_or("", String::as_str)
    }

    /// Name of the file that its commands find it under.
    pub(crate) fn file(&self) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix("file="))
    }
}

/// README and every page of the book.
pub(crate) fn all() -> Vec<Page> {
    let mut paths = vec![PathBuf::from("README.md")];
    add_pages(Path::new(BOOK), &mut paths);
    paths.sort();
    paths.into_iter().map(|path| read(&path)).collect()
}

fn add_pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// Reads a page.
pub(crate) fn read(path: &Path) -> Page {
    let text = fs::read_to_string(path).unwrap();
    let root = markdown::to_mdast(&text, &ParseOptions::gfm()).unwrap();
    let mut page = Page {
        path: path.into(),
        ..Page::default()
    };
    page.take(&root);
    page
}

impl Page {
    /// Adds what a node and those in it are.
    fn take(&mut self, node: &Node) {
        let line = node.position().map_or(0, |position| position.start.line);
        match node {
            Node::Code(code) => {
                let tags = code.lang.as_deref().unwrap_or_default().split(',');
                self.blocks.push(Block {
                    line,
                    tags: tags.map(str::to_string).collect(),
                    text: format!("{}\n", code.value),
                });
            }
            Node::Heading(_) => {
                self.anchors.insert(anchor(&node.to_string()));
            }
            Node::Link(link) => self.links.push((line, link.url.clone())),
            Node::Image(image) => self.links.push((line, image.url.clone())),
            Node::InlineCode(code) => self.words.push((line, code.value.replace('\n', " "))),
            _ => {}
        }
        for child in node.children().into_iter().flatten() {
            self.take(child);
        }
    }
}

/// The name of a heading behind `#`, as mdBook and GitHub make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
    });
    kept.collect()
}

#[test]
fn a_page_is_taken_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.md");
    let text = "# The `rl.steps` of it\n\nSee [there](other.md#x), `word`.\n\n```toml,file=a.toml\na = 1\n```\n";
    fs::write(&path, text).unwrap();
    let page = read(&path);
    assert_eq!(page.links, [(3, "other.md#x".to_string())]);
    assert!(page.anchors.contains("the-rlsteps-of-it"), "{page:?}");
    assert_eq!(page.words[1], (3, "word".to_string()));
    let [block] = page.blocks.as_slice() else {
        panic!("{page:?}");
    };
    assert_eq!(
        (block.line, block.kind(), block.file()),
        (5, "toml", Some("a.toml"))
    );
    assert_eq!(block.text, "a = 1\n");
}
