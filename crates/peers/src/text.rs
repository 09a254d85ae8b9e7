//! BM25 over the same documents by this project's index, tantivy and SQLite's FTS5.
//!
//! `text [--docs N] [--rounds N] [--no-fts5]`: documents of about twenty Zipf words, top 10, one thread. Queries are drawn from three ranges of
//! document frequency in all their mixtures. Rounds of all engines alternate, so that a slow moment of the machine hits all alike;
//! told is the median of each engine's queries per second, and of the rounds' ratios to tantivy with their range.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use steadfast_testkit::TestRng;
use steadfast_text_index::{Document, Matched, Mode, Query, TextIndex, document_terms, query_keys};
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, Occur, TermQuery};
use tantivy::schema::{FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, Term, doc};

const K: usize = 10;
const VOCABULARY: usize = 50_000;
const QUERIES: usize = 200;
const TAIL: usize = 512;

struct Options {
    documents: usize,
    rounds: usize,
    fts5: bool,
    /// Runs one cell of ours for so many rounds, for a profiler.
    only: Option<(Mode, usize, bool)>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { documents: 100_000, rounds: 9, fts5: true, only: None };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let mut number = || {
                let value = arguments.next().and_then(|value| value.parse::<usize>().ok());
                value.filter(|value| *value > 0).ok_or_else(|| format!("{name} needs a number above 0"))
            };
            match name.as_str() {
                "--docs" => options.documents = number()?.max(2 * TAIL),
                "--rounds" => options.rounds = number()?,
                "--no-fts5" => options.fts5 = false,
                "--only" => {
                    let cell = arguments.next().map_or("", String::as_str);
                    options.only = Some(match cell {
                        "or1" => (Mode::Any, 1, false),
                        "or2" => (Mode::Any, 2, false),
                        "or3" => (Mode::Any, 3, false),
                        "and2" => (Mode::All, 2, false),
                        "and3" => (Mode::All, 3, false),
                        "fresh1" => (Mode::Any, 1, true),
                        "fresh3" => (Mode::Any, 3, true),
                        _ => {
                            return Err(format!(
                                "{cell} is no cell: or1, or2, or3, and2, and3, fresh1, fresh3"
                            ));
                        }
                    });
                }
                _ => {
                    return Err(format!(
                        "unknown option {name}: --docs N, --rounds N, --no-fts5, --only CELL"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// A number from 0 (inclusive) to 1 (exclusive).
fn unit(rng: &mut TestRng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The documents, and how many hold each word.
struct Corpus {
    texts: Vec<String>,
    holders: Vec<usize>,
}

/// Letters only, so that every tokenizer takes it as one word.
fn word(number: usize) -> String {
    let mut letters = String::from("w");
    let mut rest = number;
    loop {
        letters.push(char::from(b'a' + (rest % 26) as u8));
        rest /= 26;
        if rest == 0 {
            return letters;
        }
    }
}

impl Corpus {
    fn new(documents: usize) -> Self {
        let mut rng = TestRng::new(42);
        let mut cumulated = Vec::with_capacity(VOCABULARY);
        let mut sum = 0.0;
        for rank in 1..=VOCABULARY {
            sum += 1.0 / rank as f64;
            cumulated.push(sum);
        }
        let mut holders = vec![0; VOCABULARY];
        let texts = (0..documents).map(|_| {
            let length = 10 + rng.index(21);
            let words: Vec<usize> = (0..length)
                .map(|_| {
                    let at = unit(&mut rng) * sum;
                    cumulated.partition_point(|&end| end < at).min(VOCABULARY - 1)
                })
                .collect();
            words.iter().collect::<BTreeSet<_>>().into_iter().for_each(|&word| holders[word] += 1);
            words.into_iter().map(word).collect::<Vec<_>>().join(" ")
        });
        let texts = texts.collect();
        Self { texts, holders }
    }

    /// Queries of `terms` words, from ranges of document frequency in turn: over 5 %, 0.5 to 5 %, and 0.02 to 0.5 %.
    fn queries(&self, terms: usize) -> Vec<Vec<usize>> {
        let share = |word: &usize| self.holders[*word] as f64 / self.texts.len() as f64;
        let within = |low: f64, high: f64| -> Vec<usize> {
            (0..VOCABULARY).filter(|word| (low..high).contains(&share(word))).collect()
        };
        let ranges = [within(0.05, 1.1), within(0.005, 0.05), within(0.0002, 0.005)];
        let mut rng = TestRng::new(terms as u64);
        let mixtures = ranges.len().pow(terms as u32);
        (0..QUERIES)
            .map(|number| {
                let mut mixture = number % mixtures;
                let mut words = BTreeSet::new();
                for _ in 0..terms {
                    let range = &ranges[mixture % ranges.len()];
                    mixture /= ranges.len();
                    while !words.insert(*rng.pick(range)) {}
                }
                words.into_iter().collect()
            })
            .collect()
    }
}

/// Something that answers queries with the ids of the best documents, best first.
trait Engine {
    fn search(&self, words: &[usize], mode: Mode) -> Vec<(u64, f32)>;
}

struct Ours(TextIndex);

impl Ours {
    /// The documents sealed into one segment but for the last `tail`.
    fn new(documents: &[Document], tail: usize) -> Self {
        let mut index = TextIndex::default();
        let sealed = documents.len() - tail;
        for (id, document) in documents[..sealed].iter().enumerate() {
            index.insert(id as u64, document);
        }
        index.close_tail();
        build_all(&mut index);
        for (id, document) in documents.iter().enumerate().skip(sealed) {
            index.insert(id as u64, document);
        }
        Self(index)
    }
}

fn build_all(index: &mut TextIndex) {
    while let Some(build) = index.plan() {
        index.install(build.run()).expect("this index planned it");
    }
}

impl Engine for Ours {
    fn search(&self, words: &[usize], mode: Mode) -> Vec<(u64, f32)> {
        let keys: Vec<u64> = words.iter().flat_map(|&number| query_keys(&word(number))).collect();
        let found = self.0.search(&Query { terms: &keys, mode, ..Query::default() }, K, None);
        found.hits.iter().map(|hit| (hit.id, hit.score)).collect()
    }
}

struct Tantivy {
    searcher: Searcher,
    reader: IndexReader,
    writer: IndexWriter,
    text: Field,
    id: Field,
}

impl Tantivy {
    fn new(texts: &[String]) -> tantivy::Result<Self> {
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer("default")
            .set_index_option(IndexRecordOption::WithFreqs);
        let text = schema.add_text_field("text", TextOptions::default().set_indexing_options(indexing));
        let id = schema.add_u64_field("id", FAST);
        let index = Index::create_in_ram(schema.build());
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 200_000_000)?;
        for (number, one) in texts.iter().enumerate() {
            writer.add_document(doc!(text => one.as_str(), id => number as u64))?;
        }
        writer.commit()?;
        let segments = index.searchable_segment_ids()?;
        if segments.len() > 1 {
            writer.merge(&segments).wait()?;
        }
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        reader.reload()?;
        let searcher = reader.searcher();
        assert_eq!(searcher.segment_readers().len(), 1, "tantivy gets one segment");
        Ok(Self { searcher, reader, writer, text, id })
    }

    fn add_and_see(&mut self, number: u64, text: &str) -> tantivy::Result<()> {
        self.writer.add_document(doc!(self.text => text, self.id => number))?;
        self.writer.commit()?;
        self.reader.reload()?;
        black_box(self.reader.searcher());
        Ok(())
    }
}

impl Engine for Tantivy {
    fn search(&self, words: &[usize], mode: Mode) -> Vec<(u64, f32)> {
        let term = |number: &usize| -> Box<dyn tantivy::query::Query> {
            Box::new(TermQuery::new(
                Term::from_field_text(self.text, &word(*number)),
                IndexRecordOption::WithFreqs,
            ))
        };
        let query: Box<dyn tantivy::query::Query> = match words {
            [one] => term(one),
            _ => {
                let occur = if mode == Mode::All { Occur::Must } else { Occur::Should };
                Box::new(BooleanQuery::new(words.iter().map(|word| (occur, term(word))).collect()))
            }
        };
        let hits = self
            .searcher
            .search(&query.box_clone(), &TopDocs::with_limit(K).order_by_score())
            .expect("tantivy searches");
        // One segment, and documents in the order in which they came.
        hits.into_iter().map(|(score, address)| (u64::from(address.doc_id), score)).collect()
    }
}

struct Fts5(Connection);

impl Fts5 {
    fn new(texts: &[String]) -> rusqlite::Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection
            .execute_batch("CREATE VIRTUAL TABLE memory USING fts5(text, content='', detail=full); BEGIN")?;
        {
            let mut insert = connection.prepare("INSERT INTO memory(rowid, text) VALUES (?1, ?2)")?;
            for (number, text) in texts.iter().enumerate() {
                insert.execute((number as i64, text))?;
            }
        }
        connection.execute_batch("COMMIT; INSERT INTO memory(memory) VALUES('optimize')")?;
        Ok(Self(connection))
    }
}

impl Engine for Fts5 {
    fn search(&self, words: &[usize], mode: Mode) -> Vec<(u64, f32)> {
        let joint = if mode == Mode::All { " AND " } else { " OR " };
        let query = words.iter().map(|&number| word(number)).collect::<Vec<_>>().join(joint);
        let mut statement = self
            .0
            .prepare_cached("SELECT rowid, rank FROM memory WHERE memory MATCH ?1 ORDER BY rank LIMIT 10")
            .expect("the statement is right");
        let rows = statement
            .query_map([query], |row| Ok((row.get::<_, i64>(0)? as u64, -row.get::<_, f64>(1)? as f32)));
        rows.and_then(Iterator::collect).expect("FTS5 searches")
    }
}

/// Queries per second of one pass over the queries, repeated until it has taken long enough to be told.
fn rate(engine: &dyn Engine, queries: &[Vec<usize>], mode: Mode, least: Duration) -> f64 {
    let start = Instant::now();
    let mut done = 0;
    loop {
        for query in queries {
            black_box(engine.search(black_box(query), mode));
            done += 1;
            if done % 50 == 0 && start.elapsed() >= least {
                return f64::from(done) / start.elapsed().as_secs_f64();
            }
        }
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// How many of the queries get the same documents from both, but for those that score within `tolerance` of the last one listed:
/// tantivy rounds a document's length to eight bits.
fn agreement(ours: &Ours, tantivy: &Tantivy, queries: &[Vec<usize>], mode: Mode, tolerance: f32) -> usize {
    let agrees = |query: &&Vec<usize>| {
        let (a, b) = (ours.search(query, mode), tantivy.search(query, mode));
        let clear = |hits: &[(u64, f32)]| -> BTreeMap<u64, f32> {
            let last = hits.last().map_or(0.0, |hit| hit.1);
            hits.iter().copied().filter(|hit| hit.1 > last * (1.0 + tolerance)).collect()
        };
        let all = |hits: &[(u64, f32)]| hits.iter().map(|hit| hit.0).collect::<BTreeSet<_>>();
        let (in_a, in_b) = (all(&a), all(&b));
        a.len() == b.len()
            && clear(&a).keys().all(|id| in_b.contains(id))
            && clear(&b).keys().all(|id| in_a.contains(id))
    };
    queries.iter().filter(agrees).count()
}

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    let corpus = Corpus::new(options.documents);
    let documents: Vec<Document> = corpus.texts.iter().map(|text| document_terms(text)).collect();
    println!("{} documents of {:.1} words, top {K}, one thread", documents.len(), mean_length(&documents));
    let start = Instant::now();
    let sealed = Ours::new(&documents, 0);
    println!(
        "ours: {:.2} s to insert and seal, {} bytes a document",
        start.elapsed().as_secs_f64(),
        sealed.0.bytes() / documents.len()
    );
    let with_tail = Ours::new(&documents, TAIL);
    if let Some((mode, terms, fresh)) = options.only {
        let (engine, queries) = (if fresh { &with_tail } else { &sealed }, corpus.queries(terms));
        let rates: Vec<f64> =
            (0..options.rounds).map(|_| rate(engine, &queries, mode, Duration::from_millis(20))).collect();
        println!("{:.0} queries per second at best", rates.into_iter().fold(0.0, f64::max));
        return Ok(());
    }
    let start = Instant::now();
    let mut tantivy = Tantivy::new(&corpus.texts).map_err(|error| format!("tantivy: {error}"))?;
    println!("tantivy: {:.2} s to insert, commit and merge", start.elapsed().as_secs_f64());
    let fts5 = if options.fts5 {
        Some(Fts5::new(&corpus.texts).map_err(|error| format!("FTS5: {error}"))?)
    } else {
        None
    };

    println!(
        "\n| | ours | ours, {TAIL} fresh | tantivy | FTS5 | ours ÷ tantivy | with fresh ÷ tantivy | agree |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for mode in [Mode::Any, Mode::All] {
        for terms in 1..=3 {
            row(
                &corpus.queries(terms),
                mode,
                terms,
                options.rounds,
                [&sealed, &with_tail],
                &tantivy,
                fts5.as_ref(),
            );
        }
    }
    add_and_see(&documents, &corpus.texts, sealed.0, &mut tantivy)
        .map_err(|error| format!("tantivy: {error}"))
}

fn mean_length(documents: &[Document]) -> f64 {
    documents.iter().map(|document| f64::from(document.length())).sum::<f64>() / documents.len() as f64
}

fn row(
    queries: &[Vec<usize>],
    mode: Mode,
    terms: usize,
    rounds: usize,
    ours: [&Ours; 2],
    tantivy: &Tantivy,
    fts5: Option<&Fts5>,
) {
    let least = Duration::from_millis(60);
    let mut rates: [Vec<f64>; 3] = Default::default();
    let mut ratios: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds {
        let round =
            [ours[0] as &dyn Engine, ours[1], tantivy].map(|engine| rate(engine, queries, mode, least));
        rates.iter_mut().zip(round).for_each(|(rates, rate)| rates.push(rate));
        ratios.iter_mut().zip(round).for_each(|(ratios, rate)| ratios.push(rate / round[2]));
    }
    let [sealed, with_tail, peer] = rates.map(median);
    let slow = fts5.map_or("–".to_owned(), |fts5| format!("{:.0}", rate(fts5, queries, mode, least)));
    let told = ratios.map(|ratios| {
        let (low, high) =
            ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), &ratio| (low.min(ratio), high.max(ratio)));
        format!("{:.2} ({low:.2}–{high:.2})", median(ratios))
    });
    let agree = agreement(ours[0], tantivy, queries, mode, 0.02);
    let name = if mode == Mode::All { "AND" } else { "OR" };
    println!(
        "| {name} {terms} | {sealed:.0} | {with_tail:.0} | {peer:.0} | {slow} | {} | {} | {agree}/{} |",
        told[0],
        told[1],
        queries.len()
    );
}

/// How long it takes until one more document is found.
fn add_and_see(
    documents: &[Document],
    texts: &[String],
    mut index: TextIndex,
    tantivy: &mut Tantivy,
) -> tantivy::Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..200 {
        let id = (documents.len() + number) as u64;
        let start = Instant::now();
        index.insert(id, &documents[number]);
        let snapshot = index.clone();
        ours.push(start.elapsed().as_secs_f64() * 1e6);
        assert!(snapshot.len() > documents.len());
        if number < 50 {
            let start = Instant::now();
            tantivy.add_and_see(id, &texts[number])?;
            theirs.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    println!(
        "\none document added and visible (median): ours {:.2} µs, tantivy {:.0} µs",
        median(ours),
        median(theirs)
    );
    let keys = query_keys(&word(3));
    let Matched::Exactly(count) = index.search(&Query::any(&keys).counted(), 1, None).matched else {
        return Ok(());
    };
    black_box(count);
    Ok(())
}
