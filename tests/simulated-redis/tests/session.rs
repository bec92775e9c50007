//! What a connection is asked and told about itself.

use crate::pair::Pair;

#[test]
fn connections_introduce_themselves() {
    let mut pair = Pair::start();
    pair.check("the older protocol", "PING\nPING hello\nECHO hello\nSELECT 0\nSELECT x\nHELLO 2\nGET x");
    pair.check("the newer protocol", "HELLO 3\nPING\nGET x\nHGETALL x\nHELLO\nHELLO 2\nGET x");
    pair.check("no protocol", "HELLO 4\nHELLO x\nPING");
    pair.check("names", "CLIENT GETNAME\nCLIENT SETNAME me\nCLIENT GETNAME");
    pair.check("roles", "ROLE");
    pair.check("waiting", "WAIT 0 10");
    pair.check("no cluster", "CLUSTER INFO\nCLUSTER SLOTS\nASKING");
    pair.check(
        "configuration",
        "CONFIG GET maxmemory\nCONFIG GET save\nCONFIG GET appendfsync\nCONFIG GET maxmemory-policy",
    );
    pair.check("library", "CLIENT SETINFO LIB-NAME redis-rs\nCLIENT SETINFO LIB-VER 1");
    pair.check("manners", "CLIENT NO-EVICT ON\nCLIENT NO-TOUCH ON");
    pair.check(
        "kill, as nobody does",
        "CLIENT KILL ID x\nCLIENT KILL ID 0\nCLIENT KILL ID\nCLIENT KILL ID 999999 ADDR 1.2.3.4:5",
    );
    assert_eq!(pair.simulated.unknown(), <[String; 0]>::default());
}
