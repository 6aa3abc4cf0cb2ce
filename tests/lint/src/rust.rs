//! What the checks share about Rust code: which of it is test code, and the paths that it names.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// A path as written, such as `crate::server::Server`, and its line.
#[derive(Debug, Clone)]
pub(crate) struct NamedPath {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

pub(crate) fn line(span: Span) -> usize {
    span.start().line
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]`, `#[test]` and `#[tokio::test]`.
pub(crate) fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        let is_cfg = attribute.path().is_ident("cfg");
        let is_test = attribute.path().segments.last().is_some_and(|segment| segment.ident == "test");
        is_test || is_cfg && (condition == "test" || condition.replace(' ', "").starts_with("all(test"))
    })
}

pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name under which other modules import an item.
pub(crate) fn item_name(item: &syn::Item) -> Option<String> {
    Some(match item {
        syn::Item::Const(item) => item.ident.to_string(),
        syn::Item::Enum(item) => item.ident.to_string(),
        syn::Item::Fn(item) => item.sig.ident.to_string(),
        syn::Item::Macro(item) => item.ident.as_ref()?.to_string(),
        syn::Item::Static(item) => item.ident.to_string(),
        syn::Item::Struct(item) => item.ident.to_string(),
        syn::Item::Trait(item) => item.ident.to_string(),
        syn::Item::Type(item) => item.ident.to_string(),
        syn::Item::Union(item) => item.ident.to_string(),
        _ => return None,
    })
}

/// The lines of the items that exist in tests only, first and last.
pub(crate) fn test_lines(file: &syn::File) -> Vec<(usize, usize)> {
    #[derive(Default)]
    struct Finder(Vec<(usize, usize)>);
    impl<'ast> Visit<'ast> for Finder {
        fn visit_item(&mut self, item: &'ast syn::Item) {
            if is_test_only(attributes(item)) {
                self.0.push((line(item.span()), item.span().end().line));
            } else {
                visit::visit_item(self, item);
            }
        }
    }
    let mut finder = Finder::default();
    finder.visit_file(file);
    finder.0
}

/// Every path in an item, in macros and attributes too; without those in `use` and in nested test code.
pub(crate) fn paths_in(item: &syn::Item) -> Vec<NamedPath> {
    let mut collector = Paths::default();
    collector.visit_item(item);
    collector.0
}

#[derive(Default)]
struct Paths(Vec<NamedPath>);

impl Paths {
    /// Identifiers joined by `::` among tokens that nobody parses.
    fn scan(&mut self, tokens: TokenStream) {
        let mut current: Option<NamedPath> = None;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    match &mut current {
                        Some(path) if colons == 2 => path.segments.push(ident.to_string()),
                        _ => {
                            self.0.extend(current.take());
                            let line = line(ident.span());
                            current = Some(NamedPath { segments: vec![ident.to_string()], line });
                        }
                    }
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.0.extend(current.take());
                    self.scan(group.stream());
                }
                _ => {
                    self.0.extend(current.take());
                    colons = 0;
                }
            }
        }
        self.0.extend(current);
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}

    /// `pub(crate)` names no item.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.0.push(NamedPath { segments, line: line(path.span()) });
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.scan(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
        }
    }
}
