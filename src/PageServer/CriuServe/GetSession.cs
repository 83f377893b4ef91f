using System.Buffers.Binary;
using System.Net.Security;
using PostCopy.Buffers;
using PostCopy.CriuWire;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Serve;

namespace PostCopy.CriuServe;

/// <summary>One client of CRIU's protocol, from its first frame to its end. For a thread of its own.</summary>
internal sealed class GetSession(Stream stream, IPageSource source, ListedPages listed)
{
    /// <summary>Longest answer. A client asks again for the rest; CRIU's own servers end at 1024 pages, too.</summary>
    private const ulong MaxAnswerPages = 1024;

    /// <summary>Pages read and sent at once.</summary>
    private const int SlicePages = 256;

    private readonly UnsentPages _unsent = new(listed.Ranges);
    private readonly byte[] _frame = new byte[CriuFrameFormat.MaxBytes];
    private CriuFrameFormat? _format;

    /// <summary>Pages that have not been sent to this client; readable from any thread, roughly.</summary>
    internal ulong NeverSent => _unsent.Remaining;

    /// <summary>
    /// Serves until the client says CLOSE or goes away. Throws <see cref="CriuProtocolException"/> when it asks for what is not listed,
    /// <see cref="PageSourceException"/> when a page cannot be read: the protocol has no word for either, so the caller resets the connection.
    /// </summary>
    /// <param name="pool">For the buffer.</param>
    /// <param name="requested">Called before each answer.</param>
    internal SessionEnd Serve(PagePool pool, Action requested)
    {
        using System.Buffers.IMemoryOwner<byte> block = pool.Rent();
        Span<byte> buffer = block.Memory.Span;
        while (TryReceive(out CriuFrame frame))
        {
            if (frame.IsClose)
            {
                Close();
                return new SessionEnd(Closed: true, frame.SaysComplete, NeverSent);
            }

            if (frame.Command != CriuFrameCommand.Get)
            {
                throw new CriuProtocolException($"command {frame.Command:x}: this server answers GET (7) and CLOSE, and receives no images");
            }

            // What is not listed is refused before anything is done for it.
            (ImagePid pid, PageRange range) = Check(frame);
            requested();
            Answer(pid, range, buffer);
        }

        return new SessionEnd(Closed: false, SaysComplete: false, NeverSent);
    }

    /// <summary>False at the end of the stream between two frames.</summary>
    private bool TryReceive(out CriuFrame frame)
    {
        CriuFrameFormat? format = _format;
        int known = (format ?? CriuFrameFormat.UpTo41).Bytes;
        int received = stream.ReadAtLeast(_frame.AsSpan(0, known), known, throwOnEndOfStream: false);
        if (received == 0)
        {
            frame = default;
            return false;
        }

        if (received < known)
        {
            throw new CriuProtocolException($"the client went away within a frame, after {received} bytes");
        }

        if (format is null)
        {
            _format = format = CriuFrameFormat.Recognise(_frame, listed.Contains);
            stream.ReadExactly(_frame.AsSpan(known, format.Bytes - known));
        }

        frame = format.Read(_frame);
        return true;
    }

    private (ImagePid Pid, PageRange Range) Check(in CriuFrame request)
    {
        ImagePid pid = new(request.Id is > 0 and <= int.MaxValue ? (int)request.Id : 0);
        ulong available = listed.PagesFrom(pid, request.Address);
        if (request.PageCount == 0 || available == 0)
        {
            throw new CriuProtocolException($"GET of {request.PageCount} pages at {request.Address:x} of process {request.Id}: no such pages are listed");
        }

        return (pid, new PageRange(request.Address, Math.Min(Math.Min(request.PageCount, available), MaxAnswerPages)));
    }

    private void Answer(ImagePid pid, PageRange range, Span<byte> buffer)
    {
        int header = _format!.Bytes;
        _format.Write(buffer, CriuFrame.PagesFollow(pid, range));
        if (stream is SslStream)
        {
            // criu lazy-pages waits for its socket between header and pages; what is in the same TLS record then lies in its TLS library, unseen.
            stream.Write(buffer[..header]);
            header = 0;
        }

        for (ulong done = 0; done < range.PageCount; header = 0)
        {
            // The header goes out with the first pages.
            int pages = (int)Math.Min(range.PageCount - done, SlicePages);
            Span<byte> slice = buffer.Slice(header, pages * PageSize.Bytes);
            ulong address = range.Start + PageSize.ToBytes(done);
            int read = source.Read(pid, address, slice);
            if (read != slice.Length)
            {
                throw new PageSourceException($"page {address + (ulong)read:x} of process {pid} cannot be read although it is listed");
            }

            stream.Write(buffer[..(header + slice.Length)]);
            done += (ulong)pages;
        }

        _unsent.MarkSent(SpaceOf(pid), range);
    }

    private int SpaceOf(ImagePid pid) => _unsent.TryGetSpace(pid, out int space) ? space : throw new InvalidOperationException($"process {pid} is listed and has no ledger");

    private void Close()
    {
        Span<byte> status = stackalloc byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(status, 0);
        stream.Write(status);
        stream.Flush();
        // The client closes first; a longer frame than thought has its last bytes here.
        while (stream.Read(_frame) > 0)
        {
        }
    }
}
