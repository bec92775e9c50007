use super::LocalHolder;

/// Those in a process who hold a lock, each with a number: one, or of a lock with permits as many as have one.
#[derive(Debug)]
pub(super) struct Holders<H> {
    /// The first that came, of those who are left. Most locks have one, which takes no allocation.
    first: Option<(u64, H)>,
    /// The others. Boxed, because thousands of queues have none.
    others: Option<Box<Others<H>>>,
}

/// Those from the second on; not none.
#[derive(Debug)]
struct Others<H>(Vec<(u64, H)>);

impl<H: LocalHolder> Holders<H> {
    pub(super) fn new() -> Self {
        Self { first: None, others: None }
    }

    /// Adds one. Whoever had the same part of the lock has lost it, and is returned.
    pub(super) fn add(&mut self, number: u64, holder: H) -> Option<H> {
        let replaced = self.take_if(|(_, other)| !holder.is_shared() && other.part() == holder.part());
        if self.first.is_none() {
            self.first = Some((number, holder));
        } else {
            self.others.get_or_insert_with(|| Box::new(Others(Vec::new()))).0.push((number, holder));
        }
        replaced.map(|(_, replaced)| replaced)
    }

    /// Takes out the one of this number; says whether there was one.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        self.take_if(|(other, _)| *other == number).is_some()
    }

    /// The first that came, with its number.
    pub(super) fn first_numbered(&self) -> Option<&(u64, H)> {
        self.first.as_ref()
    }

    /// Takes out one who answers to this.
    pub(super) fn take_if(&mut self, is_meant: impl Fn(&(u64, H)) -> bool) -> Option<(u64, H)> {
        let others = self.others.as_deref_mut().map(|others| &mut others.0);
        let taken = if self.first.as_ref().is_some_and(&is_meant) {
            let next = others.and_then(Vec::pop);
            std::mem::replace(&mut self.first, next)
        } else {
            let others = others?;
            let position = others.iter().position(is_meant)?;
            Some(others.swap_remove(position))
        };
        self.others.take_if(|others| others.0.is_empty());
        taken
    }

    pub(super) fn first(&self) -> Option<&H> {
        self.first.as_ref().map(|(_, holder)| holder)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &H> {
        self.first.iter().chain(self.others()).map(|(_, holder)| holder)
    }

    fn others(&self) -> &[(u64, H)] {
        self.others.as_deref().map_or(&[], |others| &others.0)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}
