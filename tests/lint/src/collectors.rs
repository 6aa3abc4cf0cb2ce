//! A collector declares every family and every check that it may report.
//!
//! In a file with a collector, each constant or static that holds a `Desc` must be reachable by name from `families()`,
//! and each that holds a `CheckDef` from `checks()` or `HealthChecks::CHECKS`: through other constants and functions of
//! the file.

use std::collections::{BTreeMap, BTreeSet};

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::rust::{attributes, is_test_only, item_name, line, paths_in};
use crate::tree::{Finding, SourceFile, Tree};

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().filter(|file| !file.is_test()).flat_map(check_file).collect()
}

/// A constant that must be declared, and the method that declares it.
struct Definition {
    name: String,
    line: usize,
    method: &'static str,
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let Ok(parsed) = syn::parse_file(&file.text) else { return Vec::new() };
    let items: Vec<&syn::Item> = parsed.items.iter().filter(|item| !is_test_only(attributes(item))).collect();
    let collectors: Vec<&syn::ItemImpl> = items.iter().filter_map(|item| as_collector(item)).collect();
    if collectors.is_empty() {
        return Vec::new();
    }
    // What each item of the file names.
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for item in &items {
        if let Some(name) = item_name(item) {
            names.entry(name).or_default().extend(named(item));
        }
        // `Self::table()` and the like.
        if let syn::Item::Impl(block) = item {
            for method in methods(block)
                .filter(|method| !["collect", "report", "families", "checks"].contains(&&*method.sig.ident.to_string()))
            {
                names.entry(method.sig.ident.to_string()).or_default().extend(named_in_method(method));
            }
        }
    }
    let reachable = |method: &str| {
        let bodies = collectors.iter().flat_map(|block| methods(block)).filter(|found| found.sig.ident == method);
        let mut open: Vec<String> = bodies.flat_map(named_in_method).collect();
        if method == "checks" {
            open.extend(collectors.iter().flat_map(|block| named_in_checks_constant(block)));
        }
        let mut reached = BTreeSet::new();
        while let Some(name) = open.pop() {
            if reached.insert(name.clone()) {
                open.extend(names.get(&name).into_iter().flatten().cloned());
            }
        }
        reached
    };
    let (families, checks) = (reachable("families"), reachable("checks"));
    let mut findings = Vec::new();
    for definition in items.iter().filter_map(|item| definition(item)) {
        let reached = if definition.method == "checks" { &checks } else { &families };
        if !reached.contains(&definition.name) {
            let Definition { name, line, method } = definition;
            findings
                .push(file.finding(line, format!("{name} is not declared: list it in {method}() of its collector")));
        }
    }
    for (name, line) in reported_checks(&items) {
        if !checks.contains(&name) {
            let what = format!("the check {name} is reported, but not declared: list it in checks() of this collector");
            findings.push(file.finding(line, what));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

fn as_collector<'a>(item: &&'a syn::Item) -> Option<&'a syn::ItemImpl> {
    let syn::Item::Impl(block) = item else { return None };
    let (_, path, _) = block.trait_.as_ref()?;
    let is_collector = |segment: &syn::PathSegment| segment.ident == "Collector" || segment.ident == "HealthChecks";
    path.segments.last().is_some_and(is_collector).then_some(block)
}

/// What `const CHECKS` of an `impl HealthChecks` names.
fn named_in_checks_constant(block: &syn::ItemImpl) -> Vec<String> {
    let constants = block.items.iter().filter_map(|item| match item {
        syn::ImplItem::Const(constant) if constant.ident == "CHECKS" => Some(constant),
        _ => None,
    });
    constants
        .flat_map(|constant| {
            named(&syn::Item::Const(syn::ItemConst {
                attrs: Vec::new(),
                vis: syn::Visibility::Inherited,
                const_token: constant.const_token,
                ident: constant.ident.clone(),
                generics: constant.generics.clone(),
                colon_token: constant.colon_token,
                ty: Box::new(constant.ty.clone()),
                eq_token: constant.eq_token,
                expr: Box::new(constant.expr.clone()),
                semi_token: constant.semi_token,
            }))
        })
        .collect()
}

fn methods(block: &syn::ItemImpl) -> impl Iterator<Item = &syn::ImplItemFn> {
    block.items.iter().filter_map(|item| if let syn::ImplItem::Fn(method) = item { Some(method) } else { None })
}

/// The last names of the paths that an item contains.
fn named(item: &syn::Item) -> Vec<String> {
    paths_in(item).into_iter().flat_map(|path| path.segments).collect()
}

fn named_in_method(method: &syn::ImplItemFn) -> Vec<String> {
    let function = syn::Item::Fn(syn::ItemFn {
        attrs: Vec::new(),
        vis: syn::Visibility::Inherited,
        sig: method.sig.clone(),
        block: Box::new(method.block.clone()),
    });
    named(&function)
}

fn definition(item: &syn::Item) -> Option<Definition> {
    let (name, expression) = match item {
        syn::Item::Const(item) => (&item.ident, &item.expr),
        syn::Item::Static(item) => (&item.ident, &item.expr),
        _ => return None,
    };
    let names = named(item);
    let has = |name: &str| names.iter().any(|named| named == name);
    // One element of a table that is declared as a whole has no name of its own to declare.
    let method = match (has("CheckDef"), has("Desc")) {
        (true, _) => "checks",
        (_, true) => "families",
        _ => return None,
    };
    // `const TABLE: fn(&str) -> Desc` and other makers hold none themselves.
    if matches!(**expression, syn::Expr::Closure(_)) {
        return None;
    }
    Some(Definition { name: name.to_string(), line: line(name.span()), method })
}

/// Constants that are handed to `finding` or `check` by name.
fn reported_checks(items: &[&syn::Item]) -> Vec<(String, usize)> {
    struct Calls(Vec<(String, usize)>);
    impl<'ast> Visit<'ast> for Calls {
        fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
            if call.method == "finding" || call.method == "check" {
                let argument = match call.args.first() {
                    Some(syn::Expr::Reference(reference)) => Some(&*reference.expr),
                    other => other,
                };
                if let Some(syn::Expr::Path(path)) = argument
                    && let Some(last) = path.path.segments.last()
                    && last.ident.to_string().chars().all(|char| char.is_ascii_uppercase() || char == '_')
                {
                    self.0.push((last.ident.to_string(), line(call.span())));
                }
            }
            visit::visit_expr_method_call(self, call);
        }
    }
    let mut calls = Calls(Vec::new());
    for item in items {
        calls.visit_item(item);
    }
    calls.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        const USED: Desc = Desc::gauge("x_used", "Current number.", &[]);
        const ROWS: &[Row] = &[Row { desc: Desc::gauge("x_rows", "Current number.", &[]) }];
        static FULL: CheckDef = CheckDef { name: "full", help: "Whether it is full.", essential: false };
        fn table() -> Vec<Desc> { ROWS.iter().map(|row| row.desc).chain([USED]).collect() }
        impl Collector<Session> for X {
            fn families(&self) -> Vec<Desc> { table() }
            fn checks(&self) -> &'static [&'static CheckDef] { &[&FULL] }
            async fn collect(&self, out: &mut Families) { out.push(&USED, &[], 1); out.finding(&FULL, ok()); }
        }
    "#;

    fn findings(code: &str) -> Vec<String> {
        check(&Tree::of(&[("a/src/x.rs", code)])).iter().map(|finding| finding.what.clone()).collect()
    }

    #[test]
    fn what_is_reachable_by_name_is_declared() {
        assert_eq!(findings(GOOD), Vec::<String>::new());
    }

    #[test]
    fn a_family_that_is_not_declared_is_found() {
        let found = findings(&GOOD.replace(".chain([USED])", ""));
        assert_eq!(found, ["USED is not declared: list it in families() of its collector"]);
        let found = findings(&GOOD.replace("ROWS.iter().map(|row| row.desc).chain([USED]).collect()", "vec![USED]"));
        assert_eq!(found, ["ROWS is not declared: list it in families() of its collector"]);
    }

    #[test]
    fn health_checks_declare_in_a_constant() {
        const HEALTH: &str = r#"
            static FULL: CheckDef = CheckDef { name: "full", help: "Whether it is full.", essential: false };
            impl HealthChecks for Health {
                const CHECKS: &'static [&'static CheckDef] = &[&FULL];
                async fn report(out: &mut Families) { out.finding(&FULL, ok()); }
            }
        "#;
        assert_eq!(findings(HEALTH), Vec::<String>::new());
        assert_eq!(findings(&HEALTH.replace("&[&FULL]", "&[]")).len(), 2);
    }

    #[test]
    fn a_check_that_is_not_declared_is_found() {
        let found = findings(&GOOD.replace("&[&FULL]", "&[]"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|what| what.starts_with("FULL is not declared")), "{found:?}");
        let found = findings(&GOOD.replace("out.finding(&FULL", "out.finding(&crate::checks::EMPTY"));
        assert_eq!(found, ["the check EMPTY is reported, but not declared: list it in checks() of this collector"]);
    }
}
