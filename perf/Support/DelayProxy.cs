using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;

namespace PostCopy.Perf.Support;

/// <summary>A wire that is long: forwards connections, every byte some milliseconds late. (Not every kernel has netem.)</summary>
internal static class DelayProxy
{
    private const int ChunkBytes = 64 << 10;

    /// <summary>On the way at a time, each way: enough for 10 ms at 10 Gbit/s.</summary>
    private const int Chunks = 256;

    /// <summary>Until it is killed.</summary>
    public static async Task RunAsync(IPEndPoint listen, IPEndPoint to, TimeSpan delay)
    {
        using Socket listener = new(SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(listen);
        listener.Listen();
        Console.WriteLine($"forwarding {listen} to {to}, {delay.TotalMilliseconds} ms late each way");
        while (true)
        {
            Socket near = await listener.AcceptAsync();
            Socket far = new(SocketType.Stream, ProtocolType.Tcp);
            await far.ConnectAsync(to);
            near.NoDelay = far.NoDelay = true;
            Forward(near, far, delay);
            Forward(far, near, delay);
        }
    }

    private static void Forward(Socket from, Socket to, TimeSpan delay)
    {
        Channel<(byte[] Bytes, long DueAt)> wire = Channel.CreateBounded<(byte[], long)>(Chunks);
        new Thread(() => Receive(from, wire.Writer, delay)) { IsBackground = true }.Start();
        new Thread(() => Send(wire.Reader, to)) { IsBackground = true }.Start();
    }

    private static void Receive(Socket from, ChannelWriter<(byte[], long)> wire, TimeSpan delay)
    {
        byte[] chunk = new byte[ChunkBytes];
        try
        {
            for (int got = from.Receive(chunk); got > 0; got = from.Receive(chunk))
            {
                long dueAt = Stopwatch.GetTimestamp() + (long)(delay.TotalSeconds * Stopwatch.Frequency);
                wire.WriteAsync((chunk[..got], dueAt)).AsTask().GetAwaiter().GetResult();
            }
        }
        catch (SocketException)
        {
            // As at its end.
        }

        wire.Complete();
    }

    private static void Send(ChannelReader<(byte[] Bytes, long DueAt)> wire, Socket to)
    {
        try
        {
            while (wire.WaitToReadAsync().AsTask().GetAwaiter().GetResult())
            {
                while (wire.TryRead(out (byte[] Bytes, long DueAt) next))
                {
                    TimeSpan early = Stopwatch.GetElapsedTime(Stopwatch.GetTimestamp(), next.DueAt);
                    if (early > TimeSpan.Zero)
                    {
                        Thread.Sleep(early);
                    }

                    to.Send(next.Bytes);
                }
            }

            to.Shutdown(SocketShutdown.Send);
        }
        catch (SocketException)
        {
            // The receiver hung up.
        }
    }
}
