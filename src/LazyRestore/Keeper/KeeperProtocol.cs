namespace PostCopy.Keeper;

/// <summary>What the agent says to its keeper: one byte a packet on a SOCK_SEQPACKET pair, with at most one descriptor beside it.</summary>
internal static class KeeperProtocol
{
    /// <summary>The descriptor of the keeper's end in the keeper.</summary>
    internal const int SocketDescriptor = 3;

    /// <summary>A userfaultfd to hold.</summary>
    internal const byte Hold = (byte)'h';

    /// <summary>A pidfd of the container's first process: when that is dead, there is nothing left to hold anything for.</summary>
    internal const byte Container = (byte)'c';

    /// <summary>
    /// The first process is not known: there is nothing left to hold anything for when every address space held is gone. Sent once tasks run.
    /// </summary>
    internal const byte AddressSpaces = (byte)'a';

    /// <summary>Every page is where it belongs: let go of everything and end.</summary>
    internal const byte Release = (byte)'r';
}
