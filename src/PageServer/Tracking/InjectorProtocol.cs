using System.Buffers.Binary;
using System.Text;
using PostCopy.Linux;

namespace PostCopy.Tracking;

/// <summary>
/// What the source and its injector say to each other over a SOCK_SEQPACKET socket: a request is six bytes (a kind, a flag, a pid), an answer is a kind
/// and a descriptor beside it, or a kind and a reason.
/// </summary>
internal static class InjectorProtocol
{
    /// <summary>The injector's end, in the injector.</summary>
    internal const int SocketDescriptor = 3;

    private const byte Steal = (byte)'s';
    private const byte Stolen = (byte)'u';
    private const byte Refused = (byte)'e';
    private const byte RefusedAndEnds = (byte)'x';
    private const int RequestBytes = 6;
    private const int MaxReasonBytes = 500;

    internal static void SendRequest(int socket, int pid, bool closeLeftovers)
    {
        Span<byte> request = stackalloc byte[RequestBytes];
        request[0] = Steal;
        request[1] = closeLeftovers ? (byte)1 : (byte)0;
        BinaryPrimitives.WriteInt32LittleEndian(request[2..], pid);
        DescriptorSocket.Send(socket, request, -1);
    }

    /// <summary>False when the other end has closed.</summary>
    internal static bool TryReceiveRequest(int socket, out int pid, out bool closeLeftovers)
    {
        Span<byte> request = stackalloc byte[RequestBytes];
        bool came = DescriptorSocket.Receive(socket, request, out _) == RequestBytes && request[0] == Steal;
        closeLeftovers = request[1] != 0;
        pid = BinaryPrimitives.ReadInt32LittleEndian(request[2..]);
        return came;
    }

    internal static void SendStolen(int socket, int descriptor) => DescriptorSocket.Send(socket, Stolen, descriptor);

    /// <summary><paramref name="ends"/>: the injector ends now, and may have left something in the process.</summary>
    internal static void SendRefusal(int socket, string reason, bool ends)
    {
        byte[] text = Encoding.UTF8.GetBytes(reason);
        DescriptorSocket.Send(socket, [ends ? RefusedAndEnds : Refused, .. text.AsSpan(0, Math.Min(text.Length, MaxReasonBytes))], -1);
    }

    /// <summary>A descriptor, or a reason why there is none, and whether the injector ends for it; neither when the other end has closed.</summary>
    internal static (int Descriptor, string? Refusal, bool Ends) ReceiveAnswer(int socket)
    {
        Span<byte> answer = stackalloc byte[MaxReasonBytes + 1];
        int bytes = DescriptorSocket.Receive(socket, answer, out int descriptor);
        return bytes == 0 ? (-1, null, true)
            : answer[0] == Stolen && descriptor >= 0 ? (descriptor, null, false)
            : (-1, Encoding.UTF8.GetString(answer[1..bytes]), answer[0] == RefusedAndEnds);
    }
}
