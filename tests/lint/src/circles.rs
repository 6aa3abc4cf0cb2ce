//! Modules of a crate that import each other in a circle.
//!
//! An edge is a path from the code of one file's module to an item of another's. Not counted: test code, `mod x;`, and
//! re-exports. What is imported through a re-export counts as an import of the module that defines it.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::tarjan_scc;
use petgraph::graph::DiGraph;

use crate::rust::{self, NamedPath};
use crate::tree::{Finding, SourceFile, Tree};

/// Modules by their path below the crate root: `collectors::health`; the root itself is "".
type ModulePath = Vec<String>;

struct Module<'a> {
    file: &'a SourceFile,
    /// Constants, functions, types, macros.
    items: BTreeSet<String>,
    /// What a `use` brings under a name.
    imports: BTreeMap<String, Vec<String>>,
    /// `use x::*`.
    globs: Vec<Vec<String>>,
    /// What its code names, and what its private `use` imports.
    paths: Vec<NamedPath>,
}

/// Resolution follows re-exports of re-exports no further.
const MAX_HOPS: usize = 8;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in tree.files.iter().filter(|file| file.path.rsplit('/').next() == Some("Cargo.toml")) {
        let directory = manifest.path.trim_end_matches("Cargo.toml");
        for root in ["src/lib.rs", "src/main.rs"] {
            let Some(file) = tree.get(&format!("{directory}{root}")) else { continue };
            let mut graph = Crate { tree, modules: BTreeMap::new() };
            match graph.load(file, Vec::new()) {
                Ok(()) => findings.extend(graph.circles()),
                Err(finding) => findings.push(finding),
            }
        }
    }
    findings
}

struct Crate<'a> {
    tree: &'a Tree,
    modules: BTreeMap<ModulePath, Module<'a>>,
}

/// A path that one module names of another: where, and as what.
struct Import {
    line: usize,
    path: String,
}

impl<'a> Crate<'a> {
    fn load(&mut self, file: &'a SourceFile, path: ModulePath) -> Result<(), Finding> {
        let parsed = syn::parse_file(&file.text)
            .map_err(|error| file.finding(rust::line(error.span()), format!("is not valid Rust: {error}")))?;
        self.add(file, path, &parsed.items)
    }

    fn add(&mut self, file: &'a SourceFile, path: ModulePath, items: &[syn::Item]) -> Result<(), Finding> {
        let mut module =
            Module { file, items: BTreeSet::new(), imports: BTreeMap::new(), globs: Vec::new(), paths: Vec::new() };
        for item in items.iter().filter(|item| !rust::is_test_only(rust::attributes(item))) {
            match item {
                syn::Item::Use(import) => {
                    let private = matches!(import.vis, syn::Visibility::Inherited);
                    module.add_use(&import.tree, &mut Vec::new(), private);
                }
                syn::Item::Mod(child) => {
                    let mut inner = path.clone();
                    inner.push(child.ident.to_string());
                    match &child.content {
                        Some((_, items)) => self.add(file, inner, items)?,
                        None => {
                            if let Some(child) = self.file_of(file, &path, &inner) {
                                self.load(child, inner)?;
                            }
                        }
                    }
                }
                item => {
                    module.items.extend(rust::item_name(item));
                    module.paths.extend(rust::paths_in(item));
                }
            }
        }
        self.modules.insert(path, module);
        Ok(())
    }

    /// `a.rs` or `a/mod.rs`, next to a root or a `mod.rs`, else in the folder named after the parent.
    fn file_of(&self, parent: &SourceFile, parent_path: &[String], child: &[String]) -> Option<&'a SourceFile> {
        let (folder, name) = parent.path.rsplit_once('/')?;
        let is_root = parent_path.is_empty() || name == "mod.rs";
        let folder = if is_root { folder.to_owned() } else { format!("{folder}/{}", name.trim_end_matches(".rs")) };
        let name = child.last()?;
        self.tree.get(&format!("{folder}/{name}.rs")).or_else(|| self.tree.get(&format!("{folder}/{name}/mod.rs")))
    }

    /// From the crate root on; `None` for what is not of this crate.
    fn absolute(&self, from: &[String], segments: &[String], hops: usize) -> Option<Vec<String>> {
        let (first, rest) = segments.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.to_vec(),
            "super" => from.split_last()?.1.to_vec(),
            name => {
                let module = self.modules.get(from)?;
                let child: Vec<String> = from.iter().cloned().chain([name.to_owned()]).collect();
                if self.modules.contains_key(&child) {
                    child
                } else {
                    let import = module.imports.get(name).filter(|import| import.first() != Some(first))?;
                    self.absolute(from, import, hops.checked_sub(1)?)?
                }
            }
        };
        for segment in rest {
            if segment == "super" {
                base.pop();
            } else {
                base.push(segment.clone());
            }
        }
        Some(base)
    }

    /// The module that defines what an absolute path names.
    fn defining(&self, path: &[String], hops: usize) -> Option<ModulePath> {
        let known = (0..=path.len()).rev().find(|length| self.modules.contains_key(&path[..*length]))?;
        let (module_path, rest) = path.split_at(known);
        let module = self.modules.get(module_path)?;
        let (Some(item), Some(hops)) = (rest.first(), hops.checked_sub(1)) else { return Some(module_path.to_vec()) };
        if module.items.contains(item) {
            return Some(module_path.to_vec());
        }
        if let Some(import) = module.imports.get(item) {
            let target = self.absolute(module_path, import, hops)?;
            return self.defining(&target, hops);
        }
        for glob in &module.globs {
            let Some(mut target) = self.absolute(module_path, glob, hops) else { continue };
            if self.modules.get(&target).is_some_and(|module| module.items.contains(item)) {
                return Some(target);
            }
            target.push(item.clone());
            if let Some(found) = self.defining(&target, hops).filter(|found| found.as_slice() != module_path) {
                return Some(found);
            }
        }
        Some(module_path.to_vec())
    }

    /// From file to file, the first import of each.
    fn edges(&self) -> BTreeMap<(&'a str, &'a str), Import> {
        let mut edges: BTreeMap<(&str, &str), Import> = BTreeMap::new();
        for (from, module) in &self.modules {
            for path in module.paths.iter().filter(|path| path.segments != ["crate"]) {
                let target = self.absolute(from, &path.segments, MAX_HOPS);
                let target = target.and_then(|target| self.defining(&target, MAX_HOPS));
                let Some(target) = target.and_then(|target| self.modules.get(&target)) else { continue };
                if target.file.path != module.file.path {
                    let import = Import { line: path.line, path: path.segments.join("::") };
                    let edge = edges.entry((&module.file.path, &target.file.path));
                    let known = edge.or_insert(Import { line: usize::MAX, path: String::new() });
                    if import.line < known.line {
                        *known = import;
                    }
                }
            }
        }
        edges
    }

    /// One finding for each group of modules that reach each other: its shortest circle.
    fn circles(&self) -> Vec<Finding> {
        let edges = self.edges();
        let mut graph = DiGraph::<&str, ()>::new();
        let mut nodes = BTreeMap::new();
        for name in edges.keys().flat_map(|(from, to)| [*from, *to]) {
            nodes.entry(name).or_insert_with(|| graph.add_node(name));
        }
        for (from, to) in edges.keys() {
            graph.add_edge(nodes[from], nodes[to], ());
        }
        let groups = tarjan_scc(&graph).into_iter().filter(|group| group.len() > 1);
        groups
            .map(|group| {
                let members: BTreeSet<&str> = group.into_iter().map(|node| graph[node]).collect();
                let circle =
                    members.iter().filter_map(|start| shortest_circle(start, &members, &edges)).min_by_key(Vec::len);
                self.describe(&circle.unwrap_or_default(), members.len(), &edges)
            })
            .collect()
    }

    fn describe(&self, circle: &[&'a str], members: usize, edges: &BTreeMap<(&'a str, &'a str), Import>) -> Finding {
        let steps = circle.iter().zip(circle.iter().cycle().skip(1)).filter_map(|(from, to)| {
            let import = edges.get(&(*from, *to))?;
            Some(format!("    {from}:{}: {} is of {to}", import.line, import.path))
        });
        let steps: Vec<String> = steps.collect();
        let of = if members > circle.len() { format!(", one of several among {members} files") } else { String::new() };
        let file = circle.first().copied().unwrap_or_default();
        let line = circle.get(1).and_then(|next| edges.get(&(file, *next))).map_or(1, |import| import.line);
        let what =
            format!("a circle of modules{of}: move what both need into a module below them\n{}", steps.join("\n"));
        Finding { file: file.to_owned(), line, what }
    }
}

/// Breadth first, from a file back to itself.
fn shortest_circle<'a>(
    start: &&'a str,
    members: &BTreeSet<&'a str>,
    edges: &BTreeMap<(&'a str, &'a str), Import>,
) -> Option<Vec<&'a str>> {
    let mut routes = vec![vec![*start]];
    let mut seen = BTreeSet::new();
    while !routes.is_empty() {
        let mut longer = Vec::new();
        for route in routes {
            let last = route.last().copied()?;
            for (_, to) in edges.keys().filter(|(from, to)| *from == last && members.contains(to)) {
                if to == start {
                    return Some(route);
                }
                if seen.insert(*to) {
                    longer.push(route.iter().copied().chain([*to]).collect());
                }
            }
        }
        routes = longer;
    }
    None
}

impl Module<'_> {
    fn add_use(&mut self, tree: &syn::UseTree, prefix: &mut Vec<String>, private: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_use(&path.tree, prefix, private);
                prefix.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, prefix, private);
                }
            }
            syn::UseTree::Name(name) => self.import(prefix, &name.ident, None, private),
            syn::UseTree::Rename(rename) => self.import(prefix, &rename.ident, Some(&rename.rename), private),
            syn::UseTree::Glob(glob) => {
                self.globs.push(prefix.clone());
                if private {
                    let line = glob.star_token.spans[0].start().line;
                    self.paths.push(NamedPath { segments: prefix.clone(), line });
                }
            }
        }
    }

    fn import(&mut self, prefix: &[String], ident: &syn::Ident, rename: Option<&syn::Ident>, private: bool) {
        let mut segments = prefix.to_vec();
        if ident != "self" {
            segments.push(ident.to_string());
        }
        let name = rename.map(ToString::to_string).or_else(|| segments.last().cloned()).unwrap_or_default();
        if private {
            self.paths.push(NamedPath { segments: segments.clone(), line: rust::line(ident.span()) });
        }
        self.imports.insert(name, segments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: (&str, &str) = ("a/Cargo.toml", "");

    #[test]
    fn a_circle_is_named_with_one_import_for_each_edge() {
        let findings = check(&Tree::of(&[
            MANIFEST,
            ("a/src/lib.rs", "mod one;\nmod two;\nmod three;\n"),
            ("a/src/one.rs", "use crate::two::Two;\npub struct One(Two);\n"),
            ("a/src/two.rs", "pub struct Two;\nfn f() { super::three::f() }\n"),
            ("a/src/three.rs", "pub fn f() { println!(\"{}\", crate::one::One::NAME) }\n"),
        ]));
        assert_eq!(findings.len(), 1);
        let text = findings[0].to_string();
        for edge in [
            "a/src/one.rs:1: crate::two::Two is of a/src/two.rs",
            "a/src/two.rs:2: super::three::f is of a/src/three.rs",
            "a/src/three.rs:1: crate::one::One::NAME is of a/src/one.rs",
        ] {
            assert!(text.contains(edge), "{text}");
        }
    }

    #[test]
    fn a_re_export_leads_to_the_module_that_defines_the_item() {
        let lib = ("a/src/lib.rs", "mod one;\nmod two;\npub use one::One;\npub use two::*;\n");
        // `one` takes Two, by the root's glob, and `two` takes One, by the root's name.
        let circle = [
            MANIFEST,
            lib,
            ("a/src/one.rs", "pub struct One(crate::Two);\n"),
            ("a/src/two.rs", "use crate::One;\npub struct Two(One);\n"),
        ];
        assert_eq!(check(&Tree::of(&circle)).len(), 1);
        let good = [
            MANIFEST,
            lib,
            ("a/src/one.rs", "pub struct One;\n"),
            ("a/src/two.rs", "use crate::One;\npub struct Two(One);\n"),
        ];
        assert_eq!(check(&Tree::of(&good)), []);
    }

    #[test]
    fn a_child_that_uses_its_parent_and_is_used_by_it_is_a_circle() {
        let parent = "mod child;\nconst SHARED: u8 = 0;\nfn f() { child::g() }\n";
        let files = [
            MANIFEST,
            ("a/src/main.rs", "mod parent;\n"),
            ("a/src/parent/mod.rs", parent),
            ("a/src/parent/child.rs", "pub fn g() { let _ = super::SHARED; }\n"),
        ];
        assert_eq!(check(&Tree::of(&files)).len(), 1);
    }

    #[test]
    fn tests_declarations_and_other_crates_make_no_circle() {
        let files = [
            MANIFEST,
            ("a/src/lib.rs", "mod one;\nmod two;\n"),
            ("a/src/one.rs", "pub struct One;\n#[cfg(test)]\nmod tests { use crate::two::Two; }\n"),
            ("a/src/two.rs", "use crate::one::One;\nuse one::Other;\npub struct Two(One, std::fmt::Error);\n"),
        ];
        assert_eq!(check(&Tree::of(&files)), []);
    }
}
