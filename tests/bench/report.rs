//! The figures: one line each, ours beside Kafka's, and whether the target is met.

use crate::broker::{self, Kind};
use crate::options::Options;
use crate::turns::Turns;

/// What a figure is held to.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At most this share of Kafka's.
    Ratio(f64),
    /// At most this, in the figure's own unit.
    Most(f64),
    None,
}

/// One measurement, perhaps repeated.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: String,
    pub unit: &'static str,
    pub target: Target,
    pub samples: Vec<f64>,
}

impl Figure {
    fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn show(&self) -> String {
        let (least, most) =
            self.samples.iter().fold((f64::MAX, f64::MIN), |(least, most), s| (least.min(*s), most.max(*s)));
        match self.samples.len() {
            0 => "-".to_owned(),
            1 => number(self.median()),
            _ => format!("{} ({}..{})", number(self.median()), number(least), number(most)),
        }
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// The figures of one broker, in the order they were taken.
pub struct Figures {
    kind: Kind,
    taken: Vec<Figure>,
}

impl Figures {
    pub fn new(kind: Kind) -> Figures {
        Figures { kind, taken: Vec::new() }
    }

    pub fn add(&mut self, name: impl Into<String>, unit: &'static str, target: Target, samples: Vec<f64>) {
        let figure = Figure { name: name.into(), unit, target, samples };
        let kind = format!("{:?}", self.kind);
        println!("{kind:<6} {:<52} {:>30} {}", figure.name, figure.show(), figure.unit);
        self.taken.push(figure);
    }

    fn find(&self, name: &str) -> Option<&Figure> {
        self.taken.iter().find(|f| f.name == name)
    }
}

/// Measures ours, and a Kafka if there is one, as far as the options want it; prints both side by side. Each has a
/// thread, which does nothing but in its turns. Exits with 1 when a target is missed.
pub fn judge(options: &Options, measure: impl Fn(Kind, &Turns) -> Figures + Sync) {
    let kafka = broker::has_kafka();
    if options.measures(Kind::Kafka) && !kafka {
        println!("No Kafka to compare with: see the top of tests/bench/compare.rs");
    }
    let all = [Kind::Ottla, Kind::Kafka].into_iter();
    let turns = Turns::new(all.filter(|kind| options.measures(*kind) && (kafka || *kind == Kind::Ottla)).collect());
    let figures = |kind: Kind| match turns.has(kind) {
        true => measure(kind, &turns),
        false => Figures::new(kind),
    };
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| figures(Kind::Kafka));
        (figures(Kind::Ottla), theirs.join().expect("Kafka's figures"))
    });
    let missed = compare(&ours, &theirs);
    if missed > 0 {
        println!("\n{missed} targets missed");
        std::process::exit(1);
    }
}

/// Prints both side by side: medians, with the range of the repetitions. Returns how many targets are missed.
fn compare(ours: &Figures, kafka: &Figures) -> usize {
    if ours.taken.is_empty() {
        return 0; // Kafka was measured alone.
    }
    println!("\n{:<52} {:>30} {:>30} {:>7}  target", "figure, median (least..most)", "ottla", "Kafka 3.7.2", "ratio");
    let mut missed = 0;
    for figure in &ours.taken {
        let theirs = kafka.find(&figure.name);
        let ratio = theirs.map(|k| figure.median() / k.median());
        let met = match figure.target {
            Target::Ratio(most) => ratio.map(|r| r <= most),
            Target::Most(most) => Some(figure.median() <= most),
            Target::None => None,
        };
        let target = match figure.target {
            Target::Ratio(most) => format!("at most {most:.2}x"),
            Target::Most(most) => format!("at most {most}"),
            Target::None => String::new(),
        };
        let verdict = match met {
            Some(true) => "  met",
            Some(false) => "  MISSED",
            None => "",
        };
        missed += usize::from(met == Some(false));
        println!(
            "{:<52} {:>30} {:>30} {:>7}  {target}{verdict}",
            format!("{}, {}", figure.name, figure.unit),
            figure.show(),
            theirs.map_or("-".to_owned(), Figure::show),
            ratio.map_or("-".to_owned(), |r| format!("{r:.2}x")),
        );
    }
    missed
}
