//! A request that is under way and can be set aside while somebody else finds the answer to what its server asks in the middle of it:
//! it stays open in this process, and is taken up again with the answer. It is kept nowhere else and ends with the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use abide_engine::{Error, Teller, Telling};
use abide_llm::{BoxFuture, ToolCall};
use futures_util::FutureExt as _;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::calls::Outcome;
use crate::driver::{Elicit, Progress, Question, Reply, Sample, SampleRequest, Watch};

/// The most requests that are set aside in one process: more are a sign that nobody comes back for them.
const MOST: usize = 10_000;

/// A request, from its first byte to its outcome.
pub(crate) struct OpenCall {
    request: BoxFuture<Result<Outcome, Error>>,
    outcome: Option<Result<Outcome, Error>>,
    news: mpsc::UnboundedReceiver<News>,
    waiting: BTreeMap<String, News>,
    count: u32,
    line: Arc<Line>,
}

/// What a server wants to know in the middle of a request, and where the answer goes.
pub(crate) enum News {
    Question(Question, oneshot::Sender<Reply>),
    Sample(SampleRequest, oneshot::Sender<Result<Value, String>>),
}

/// What a request comes to.
pub(crate) enum Next {
    Outcome(Result<Outcome, Error>),
    /// Its server asks, under these names.
    Asks(Vec<String>),
}

/// Stands behind one request: hands on what it hears.
pub(crate) struct Line {
    news: mpsc::UnboundedSender<News>,
    teller: Mutex<Teller>,
}

impl OpenCall {
    /// Opens what `request` makes for whoever stands behind it.
    pub(crate) fn new(teller: Teller, request: impl FnOnce(Arc<Line>) -> BoxFuture<Result<Outcome, Error>>) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        let line = Arc::new(Line { news: sender, teller: Mutex::new(teller) });
        let request = request(line.clone());
        Self { request, outcome: None, news, waiting: BTreeMap::new(), count: 0, line }
    }

    /// The outcome, or the next thing that the server wants to know. Not to be called again after an outcome.
    pub(crate) async fn next(&mut self) -> Next {
        if let Some(outcome) = self.outcome.take() {
            return Next::Outcome(outcome);
        }
        tokio::select! {
            biased;
            outcome = &mut self.request => Next::Outcome(outcome),
            // The sender is in the line.
            Some(news) = self.news.recv() => {
                let mut names = vec![self.note(news)];
                while let Ok(news) = self.news.try_recv() {
                    names.push(self.note(news));
                }
                Next::Asks(names)
            }
        }
    }

    fn note(&mut self, news: News) -> String {
        self.count += 1;
        let name = self.count.to_string();
        self.waiting.insert(name.clone(), news);
        name
    }

    /// What was asked under this name.
    pub(crate) fn asked(&self, name: &str) -> Option<&News> {
        self.waiting.get(name)
    }

    /// The same, to answer it.
    pub(crate) fn take(&mut self, name: &str) -> Option<News> {
        self.waiting.remove(name)
    }

    /// From now on this one is told of progress.
    pub(crate) fn tell(&self, teller: Teller) {
        *self.line.teller.lock().unwrap_or_else(PoisonError::into_inner) = teller;
    }

    /// Has it an outcome by now?
    fn is_over(&mut self) -> bool {
        if self.outcome.is_none() {
            self.outcome = (&mut self.request).now_or_never();
        }
        self.outcome.is_some()
    }
}

impl Watch for Line {
    fn progress(&self, _call: &ToolCall, progress: &Progress) {
        let telling = Telling::Progress { done: progress.done, of: progress.total, message: progress.message.clone() };
        self.teller.lock().unwrap_or_else(PoisonError::into_inner).tell(telling);
    }
}

impl Elicit for Line {
    fn elicit(&self, question: Question) -> BoxFuture<Reply> {
        let (sender, reply) = oneshot::channel();
        let _ = self.news.send(News::Question(question, sender));
        Box::pin(async move { reply.await.unwrap_or(Reply::Cancel) })
    }
}

impl Sample for Line {
    fn sample(&self, request: SampleRequest) -> BoxFuture<Result<Value, String>> {
        let (sender, reply) = oneshot::channel();
        let _ = self.news.send(News::Sample(request, sender));
        Box::pin(async move { reply.await.unwrap_or_else(|_| Err("nobody answered".to_owned())) })
    }
}

/// Requests that are set aside.
#[derive(Default)]
pub(crate) struct SetAside(Mutex<HashMap<String, OpenCall>>);

impl SetAside {
    /// Keeps one under this name; false if there are too many.
    pub(crate) fn keep(&self, name: String, open: OpenCall) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = all.len() < MOST;
        if fits {
            all.insert(name, open);
        }
        fits
    }

    /// Gives it back.
    pub(crate) fn take(&self, name: &str) -> Option<OpenCall> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// Is it here, and without an outcome?
    pub(crate) fn is_open(&self, name: &str) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(name).is_some_and(|open| !open.is_over())
    }

    /// Calls all of them off.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(all);
    }
}
