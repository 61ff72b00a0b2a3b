//! The `ottla` binary: `ottla TOOL ARGS...`, where TOOL is a script name of Kafka (`kafka-topics`) or the Java class
//! behind it; `kafka.Kafka` is the broker.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let mut args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    let Some(name) = args.next() else {
        ottla::tools::output::err("USAGE: ottla TOOL ARGS..., where TOOL is a name such as kafka-topics\n");
        std::process::exit(1);
    };
    let args: Vec<String> = args.collect();
    let code = match name.as_str() {
        "kafka.Kafka" | "kafka-server-start" => match ottla::tools::server_start::parse(&args) {
            Ok(server) => ottla::broker::main(&server.file, &server.overrides),
            Err(code) => code,
        },
        _ => ottla::tools::run(&name, &args),
    };
    std::process::exit(code);
}
