//! How text becomes terms is settled with a tenant's first memory, and stays so whatever is configured later.

use std::path::Path;

use steadfast_graph_memory::{
    Allocate, Analyzer, Config, GraphMemory, Language, MemoryError, Patch, Problem, Search, Tenant,
};

fn open(dir: &Path, analyzer: Analyzer) -> GraphMemory {
    GraphMemory::open_blocking(dir, Config::default().analyzer(analyzer)).unwrap()
}

fn stopping() -> Analyzer {
    Analyzer::new().with_stop_words(Language::English)
}

/// How many memories a query finds, or why it is refused.
fn found(tenant: &Tenant, query: &str) -> Result<usize, MemoryError> {
    tenant.search_blocking(Search::new(query)).map(|hits| hits.hits.len())
}

fn scores(tenant: &Tenant, query: &str) -> Vec<(u64, u32)> {
    let hits = tenant.search_blocking(Search::new(query)).unwrap().hits;
    hits.iter().map(|hit| (hit.record.id.get(), hit.score.to_bits())).collect()
}

fn words(tenant: &Tenant) -> u64 {
    tenant.view().unwrap().stats().words
}

const TEXTS: [&str; 3] = ["The invoices are in the bay", "to_string of the whale", "A bay is a bay"];

fn fill(tenant: &Tenant) {
    for text in TEXTS {
        tenant.allocate_blocking(Allocate::new(text)).unwrap();
    }
}

#[test]
fn stop_words_are_neither_found_nor_counted() {
    let dir = tempfile::tempdir().unwrap();
    let memory = open(dir.path(), stopping());
    let acme = memory.tenant("acme").unwrap();
    fill(&acme);
    // invoices bay, to string to_string whale, bay bay
    assert_eq!(words(&acme), 8);
    let empty = Err(MemoryError::invalid("text", Problem::Empty));
    assert_eq!(found(&acme, "the of THE are"), empty);
    assert_eq!(found(&acme, "the bay"), Ok(2));
    assert_eq!(scores(&acme, "the bay"), scores(&acme, "bay"), "df and lengths are as if they weren't there");
    assert_eq!(found(&acme, "to"), empty, "by itself");
    assert_eq!(found(&acme, "to_string"), Ok(1), "an identifier has all its parts");
    let hits = acme.search_blocking(Search::new("where is the BAY")).unwrap().hits;
    assert_eq!(hits[0].why.terms.iter().map(|term| &**term).collect::<Vec<_>>(), ["bay"]);
}

/// Both ways round: it is the tenant's own, at once, after a change of the configuration, and for what is written then.
#[test]
fn a_tenant_keeps_what_it_was_made_with() {
    for (first, later) in [(Analyzer::new(), stopping()), (stopping(), Analyzer::new())] {
        let dir = tempfile::tempdir().unwrap();
        let memory = open(dir.path(), first);
        let acme = memory.tenant("acme").unwrap();
        fill(&acme);
        let (the, bay, counted) = (found(&acme, "the"), scores(&acme, "bay"), words(&acme));
        let hash = memory.state_hash();
        memory.close_blocking().unwrap();

        let memory = open(dir.path(), later);
        assert_eq!(memory.state_hash(), hash);
        let (acme, beta) = (memory.tenant("acme").unwrap(), memory.tenant("beta").unwrap());
        assert_eq!((found(&acme, "the"), scores(&acme, "bay"), words(&acme)), (the, bay.clone(), counted));
        fill(&beta);
        assert_eq!(
            found(&beta, "the").is_ok(),
            later == Analyzer::new(),
            "a new tenant has what is configured"
        );

        // What is written now, changed and taken out again leaves everything as it was.
        let id = acme.allocate_blocking(Allocate::new("the harbour")).unwrap().id;
        acme.update_blocking(id, None, Patch::new().text("in the harbour")).unwrap();
        acme.update_blocking(id, None, Patch::new().kind("place")).unwrap();
        assert_eq!(found(&acme, "in the").is_ok(), first == Analyzer::new());
        assert_eq!(found(&acme, "harbour"), Ok(1));
        acme.view().unwrap().verify().unwrap();
        acme.delete_blocking(id).unwrap();
        assert_eq!((scores(&acme, "bay"), words(&acme)), (bay, counted));
    }
}

#[cfg(feature = "stemming")]
mod stemming {
    use super::*;

    fn stemming() -> Analyzer {
        stopping().with_stemmer(Language::English).unwrap()
    }

    #[test]
    fn inflected_forms_and_identifiers_are_found_also_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let check = |acme: &Tenant| {
            for query in ["invoice", "INVOICES", "invoiced", "customer\u{2019}s preference"] {
                assert_eq!(scores(acme, query)[0].0, 1, "{query}");
            }
            assert_eq!(found(acme, "the of"), Err(MemoryError::invalid("text", Problem::Empty)));
            assert_eq!(found(acme, "url"), Ok(2));
            assert_eq!(scores(acme, "getURLs")[0].0, 3, "the exact identifier is first");
            assert_eq!(scores(acme, "getURL")[0].0, 2);
            let (composed, not) = (scores(acme, "caf\u{e9}s"), scores(acme, "cafe\u{301}"));
            assert_eq!((composed.len(), &composed), (1, &not));
            let hits = acme.search_blocking(Search::new("Invoicing invoices")).unwrap().hits;
            let told: Vec<&str> = hits[0].why.terms.iter().map(|term| &**term).collect();
            assert_eq!(told, ["invoicing"], "one term, in the query's words");
        };
        let memory = open(dir.path(), stemming());
        let acme = memory.tenant("acme").unwrap();
        for text in ["Customers preferred invoices by e-mail", "call getURL", "call getURLs", "a cafe\u{301}"]
        {
            acme.allocate_blocking(Allocate::new(text)).unwrap();
        }
        check(&acme);
        memory.close_blocking().unwrap();
        let memory = open(dir.path(), Analyzer::new());
        check(&memory.tenant("acme").unwrap());
        let plain = memory.tenant("plain").unwrap();
        plain.allocate_blocking(Allocate::new("invoices")).unwrap();
        assert_eq!(found(&plain, "invoice"), Ok(0));
    }
}
