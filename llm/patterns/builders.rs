//! What patterns have in common as builders, written once: a name and words about it, workers, who chooses. These are macros because they
//! are methods of the patterns themselves, which a trait's would be only where it is imported. They hold nothing of what a pattern does.

/// A pattern with a `title: Title`, and with `drive(self, ctx, input)` for what it does: its name, and its being a piece of work.
macro_rules! pattern {
    ($pattern:ty) => {
        impl $pattern {
            /// Another name: the scope of its steps.
            #[must_use]
            pub fn named(mut self, name: impl Into<String>) -> Self {
                self.title.name = name.into();
                self
            }

            /// What it is good for.
            #[must_use]
            pub fn describe(mut self, about: impl Into<String>) -> Self {
                self.title.about = about.into();
                self
            }
        }

        impl $crate::patterns::Work for $pattern {
            fn name(&self) -> &str {
                &self.title.name
            }

            fn about(&self) -> &str {
                &self.title.about
            }

            fn begin(
                &self,
                ctx: &abide_engine::Ctx,
                input: $crate::input::Input,
            ) -> abide_engine::Scoped<abide_engine::Result<$crate::agent::Answer>> {
                let this = self.clone();
                self.title.scope(ctx, input, move |ctx, input| this.drive(ctx, input))
            }
        }
    };
}

/// A pattern with a `crew: Crew`: its workers.
macro_rules! crew {
    ($pattern:ty) => {
        impl $pattern {
            /// One more worker; the planner reads what it is good for.
            #[must_use]
            pub fn worker(mut self, work: impl $crate::patterns::Work) -> Self {
                self.crew.workers.push(std::sync::Arc::new(work));
                self
            }

            /// More workers.
            #[must_use]
            pub fn workers<W: $crate::patterns::Work>(mut self, works: impl IntoIterator<Item = W>) -> Self {
                self.crew.workers.extend($crate::patterns::work::shared(works));
                self
            }

            /// Who makes the answer of what was found.
            #[must_use]
            pub fn synthesizer(mut self, agent: $crate::agent::Agent) -> Self {
                self.crew.synthesizer = agent;
                self
            }

            /// At most this many assignments at a time.
            #[must_use]
            pub fn at_once(mut self, at_once: usize) -> Self {
                self.crew.at_once = at_once;
                self
            }
        }
    };
}

/// A pattern with `by: By` and `top: usize`: how much is chosen, and what choosing may cost.
macro_rules! chooser {
    ($pattern:ty, $top:literal) => {
        impl $pattern {
            #[doc = $top]
            #[must_use]
            pub fn top(mut self, most: usize) -> Self {
                self.top = most.max(1);
                self
            }

            /// With embeddings: what the run may spend in all, as agents have it by themselves.
            #[must_use]
            pub fn run_budget(mut self, budget: $crate::charge::Limit) -> Self {
                self.by.limit(budget);
                self
            }
        }
    };
}

pub(crate) use {chooser, crew, pattern};
