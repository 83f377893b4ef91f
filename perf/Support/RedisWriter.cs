using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace PostCopy.Perf.Support;

/// <summary>
/// Writes to random keys of a Redis at a steady rate, wherever it is: when no answer comes, it looks whether Redis is at another of its addresses by now. What it
/// counts is what was answered: what a user of that Redis sees, without the time that starting and connecting clients takes.
/// </summary>
internal sealed class RedisWriter(int keys, int writesPerSecond, IReadOnlyList<IPEndPoint> addresses)
{
    private const int TicksPerSecond = 100;

    private static readonly TimeSpan Tick = TimeSpan.FromSeconds(1.0 / TicksPerSecond);
    private static readonly TimeSpan ConnectPatience = TimeSpan.FromMilliseconds(20);

    private readonly byte[] _answers = new byte[64 << 10];
    private readonly Random _random = new(1);
    private Socket? _socket;
    private IPEndPoint? _address;
    private long _answered;

    /// <summary>Until it is killed. A line a tick: its clock in microseconds, and how many writes were answered so far.</summary>
    public void Run()
    {
        long next = Stopwatch.GetTimestamp();
        while (true)
        {
            if (_socket is not null && Write(_socket, writesPerSecond / TicksPerSecond))
            {
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Stopwatch.GetElapsedTime(0).TotalMicroseconds:F0} {_answered}"));
            }
            else
            {
                Look();
            }

            next = Math.Max(next + (Stopwatch.Frequency / TicksPerSecond), Stopwatch.GetTimestamp());
            Thread.Sleep(Stopwatch.GetElapsedTime(Stopwatch.GetTimestamp(), next));
        }
    }

    /// <summary>False when the connection is of no use any more.</summary>
    private bool Write(Socket socket, int writes)
    {
        StringBuilder commands = new();
        for (int i = 0; i < writes; i++)
        {
            string key = $"key:{_random.Next(keys)}";
            commands.Append(CultureInfo.InvariantCulture, $"*4\r\n$8\r\nSETRANGE\r\n${key.Length}\r\n{key}\r\n$1\r\n0\r\n$4\r\n{_random.Next(1000, 10_000)}\r\n");
        }

        try
        {
            socket.Send(Encoding.ASCII.GetBytes(commands.ToString()));
            for (int unanswered = writes; unanswered > 0;)
            {
                if (!socket.Poll(Tick, SelectMode.SelectRead))
                {
                    if (TryConnect(addresses.Where(address => !address.Equals(_address))))
                    {
                        return true;
                    }

                    continue;
                }

                int got = socket.Receive(_answers);
                if (got == 0)
                {
                    return false;
                }

                int answers = _answers.AsSpan(0, got).Count((byte)'\n');
                unanswered -= answers;
                _answered += answers;
            }

            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private void Look()
    {
        _socket?.Dispose();
        _socket = null;
        _ = TryConnect(addresses);
    }

    private bool TryConnect(IEnumerable<IPEndPoint> candidates)
    {
        foreach (IPEndPoint address in candidates)
        {
            Socket socket = new(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                using CancellationTokenSource late = new(ConnectPatience);
                socket.ConnectAsync(address, late.Token).AsTask().GetAwaiter().GetResult();
                _socket?.Dispose();
                (_socket, _address) = (socket, address);
                return true;
            }
            catch (Exception e) when (e is SocketException or OperationCanceledException)
            {
                socket.Dispose();
            }
        }

        return false;
    }
}
