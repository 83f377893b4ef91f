namespace PostCopy.Wire;

/// <summary>Why a peer is being dropped. The numbers are the wire's: they may be added to, never changed or used again.</summary>
internal enum WireErrorCode : ushort
{
    /// <summary>A frame that makes no sense: unknown kind, wrong size, wrong place.</summary>
    ProtocolViolation = 1,

    /// <summary>A length or count beyond its limit.</summary>
    TooLarge = 2,

    /// <summary>No protocol version in common.</summary>
    Version = 3,

    /// <summary>The token is not the one this host knows.</summary>
    Unauthorized = 4,

    /// <summary>The hosts' page sizes differ.</summary>
    PageSize = 5,

    /// <summary>No such session.</summary>
    Session = 6,

    /// <summary>The host has as many sessions as it accepts.</summary>
    Busy = 7,

    /// <summary>Something failed on the sender's side that is none of the receiver's fault.</summary>
    Internal = 8,

    /// <summary>A checksum that does not fit.</summary>
    Damaged = 9,

    /// <summary>The session is here, and has this lane or a newer one already, or is ending.</summary>
    Taken = 10,
}
