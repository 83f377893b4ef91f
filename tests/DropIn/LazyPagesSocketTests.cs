using System.Buffers.Binary;
using System.Net.Sockets;
using PostCopy.Linux;
using PostCopy.Restore;

namespace PostCopy.Tests.DropIn;

/// <summary>The end of a conversation with CRIU: whether it had said before that the restore is finished decides what a failure means.</summary>
public sealed class LazyPagesSocketTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private readonly string _directory = Directory.CreateTempSubdirectory("postcopy-socket-test-").FullName;
    private readonly Socket _criu = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    [Fact]
    public async Task What_CRIU_had_sent_counts_and_what_it_sends_then_does_not_arrive()
    {
        using LazyPagesSocket socket = new(_directory);
        using ManualResetEventSlim going = new();
        int arrived = 0;
        using SemaphoreSlim begun = new(0);
        socket.Serve((_, uffd) =>
        {
            uffd.Dispose();
            arrived++;
            begun.Release();
            going.Wait();
        });
        Connect();
        SendTask(1);
        Assert.True(await begun.WaitAsync(Patience));
        // The one who listens is busy, and CRIU goes on.
        SendTask(2);
        SendFinished();
        Task<bool> concluding = Task.Run(socket.Conclude);
        // From some moment on it can send no more.
        Assert.True(SpinWait.SpinUntil(() => !CanSend(), Patience));
        going.Set();
        Assert.True(await concluding.WaitAsync(Patience));
        Assert.True(socket.Finished.IsCompletedSuccessfully);
        Assert.Equal(2, arrived);
        // Whoever rolls back disposes of it, and so does whoever ends the session.
        socket.Dispose();
    }

    [Fact]
    public async Task What_CRIU_has_not_sent_by_then_it_cannot_send_any_more()
    {
        using LazyPagesSocket socket = new(_directory);
        using SemaphoreSlim arrived = new(0);
        socket.Serve((_, uffd) =>
        {
            uffd.Dispose();
            arrived.Release();
        });
        Connect();
        SendTask(1);
        Assert.True(await arrived.WaitAsync(Patience));
        Assert.False(await Task.Run(socket.Conclude).WaitAsync(Patience));
        Assert.Throws<SocketException>(SendFinished);
        await Assert.ThrowsAsync<IOException>(() => socket.Finished);
    }

    [Fact]
    public async Task A_task_that_cannot_be_taken_ends_the_restore_unless_it_was_finished()
    {
        using LazyPagesSocket socket = new(_directory);
        using ManualResetEventSlim going = new();
        using SemaphoreSlim begun = new(0);
        socket.Serve((_, uffd) =>
        {
            uffd.Dispose();
            begun.Release();
            going.Wait();
            throw new ArgumentException("not this one");
        });
        Connect();
        SendTask(1);
        Assert.True(await begun.WaitAsync(Patience));
        SendFinished();
        going.Set();
        await Assert.ThrowsAsync<ArgumentException>(() => socket.Finished.WaitAsync(Patience));
        Assert.True(await Task.Run(socket.Conclude).WaitAsync(Patience));
    }

    public void Dispose()
    {
        _criu.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private void Connect() => _criu.Connect(new UnixDomainSocketEndPoint(Path.Combine(_directory, "lazy-pages.socket")));

    /// <summary>Any descriptor does: nothing is done with it.</summary>
    private void SendTask(int pid)
    {
        _criu.Send(BitConverter.GetBytes(pid));
        using FileStream anything = File.OpenRead("/dev/null");
        DescriptorSocket.Send((int)_criu.SafeHandle.DangerousGetHandle(), 0, (int)anything.SafeFileHandle.DangerousGetHandle());
    }

    private void SendFinished()
    {
        byte[] word = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(word, 0x52535446);
        _criu.Send(word);
    }

    /// <summary>A zombie's pid: it says nothing more.</summary>
    private bool CanSend()
    {
        try
        {
            _criu.Send(BitConverter.GetBytes(-9));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
