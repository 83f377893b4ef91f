using PostCopy.Transport;

namespace PostCopy.Perf.Support;

/// <summary>Who the two ends of an encrypted connection within this process are.</summary>
internal sealed record LoopbackTls(TlsDialling Source, TlsAccepting Target);
