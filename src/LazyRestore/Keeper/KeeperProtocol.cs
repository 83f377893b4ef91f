using System.Buffers.Binary;
using PostCopy.Linux;

namespace PostCopy.Keeper;

/// <summary>
/// What the agent and its keeper say to each other: packets of five bytes (a kind, a number) on a SOCK_SEQPACKET socket, with at most one descriptor
/// beside them.
/// </summary>
internal static class KeeperProtocol
{
    /// <summary>The descriptor of the keeper's end in the keeper.</summary>
    internal const int SocketDescriptor = 3;

    /// <summary>The keeper's socket in the session's directory, for the agent that follows a dead one.</summary>
    internal const string SocketName = "keeper.sock";

    /// <summary>The journal of events in the session's directory.</summary>
    internal const string JournalName = "journal";

    /// <summary>A userfaultfd to hold, with its number; and back to an agent that takes over.</summary>
    internal const byte Hold = (byte)'h';

    /// <summary>An address space is gone: let go of the userfaultfd with this number. A keeper that does not know the word holds on to it, which costs memory and nothing else.</summary>
    internal const byte Drop = (byte)'d';

    /// <summary>CRIU's connection to <c>lazy-pages.socket</c>, to hold and nothing else: CRIU takes its end for a failed restore, and kills what it restored.</summary>
    internal const byte Connection = (byte)'s';

    /// <summary>A pidfd of the container's first process, with its pid: when that is dead, it is time to look whether any of the others lives.</summary>
    internal const byte Container = (byte)'c';

    /// <summary>No agent will take over: should this one die, the keeper removes the session's directory at its own end.</summary>
    internal const byte NobodyFollows = (byte)'n';

    /// <summary>Tasks run, and nobody knows the first one's pid: there is nothing left to hold anything for when all address spaces are gone.</summary>
    internal const byte TasksRun = (byte)'t';

    /// <summary>To an agent that takes over: it has been given everything.</summary>
    internal const byte ThatIsAll = (byte)'e';

    /// <summary>Every page is where it belongs: let go of everything and end.</summary>
    internal const byte Release = (byte)'r';

    private const int PacketBytes = 5;

    internal static void Send(int socket, byte kind, int number, int descriptor)
    {
        Span<byte> packet = stackalloc byte[PacketBytes];
        packet[0] = kind;
        BinaryPrimitives.WriteInt32LittleEndian(packet[1..], number);
        DescriptorSocket.Send(socket, packet, descriptor);
    }

    /// <summary>False when the other end has closed, or sends what is no packet.</summary>
    internal static bool TryReceive(int socket, out byte kind, out int number, out int descriptor)
    {
        Span<byte> packet = stackalloc byte[PacketBytes];
        int received = DescriptorSocket.Receive(socket, packet, out descriptor);
        kind = packet[0];
        number = BinaryPrimitives.ReadInt32LittleEndian(packet[1..]);
        return received == PacketBytes;
    }
}
